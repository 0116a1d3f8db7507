/** Leaves: tensors whose gradient is kept, parameters above all. */
import { accumulateStep, add } from '../ops/index.js';
import { ArgumentError } from '../runtime/errors.js';
import { isFloat } from '../tensor/dtype.js';
import { keep } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { edgeOf, GraphEdge, GraphNode } from './graph.js';

export class Leaf extends GraphNode {
  readonly name = 'leaf';
  readonly edges = [];
  #grad: Tensor | null = null;
  /** A place in an arena's flat gradients, where an optimiser gave one. */
  #slot: Tensor | undefined;

  get grad(): Tensor | null {
    return this.#grad;
  }
  set grad(grad: Tensor | null) {
    if (grad === this.#grad) return;
    if (this.#grad !== this.#slot) this.#grad?.dispose();
    this.#grad = null;
    if (grad) this.accumulate(grad);
  }

  /** Gradients go to `slot` from now on; what was accumulated moves there. */
  attach(slot: Tensor | undefined): void {
    const before = this.#grad;
    this.#slot = slot;
    this.#grad = null;
    if (before) this.accumulate(before);
    before?.dispose();
  }

  /** Adds to the gradient. */
  accumulate(share: Tensor): void {
    const slot = this.#slot;
    if (slot) {
      accumulateStep(slot, share, { replace: this.#grad === null });
      this.#grad = slot;
      return;
    }
    const before = this.#grad;
    this.#grad = keep(before ? add(before, share) : share.reshape(share.shape));
    before?.dispose();
  }

  differentiate(): readonly never[] {
    return [];
  }
  free(): void {
    this.grad = null;
  }
}

export const leafOf = (tensor: Tensor): Leaf | undefined => {
  const node = edgeOf(tensor)?.node;
  return node instanceof Leaf ? node : undefined;
};

/** Makes a tensor a leaf, or takes it out of the graph. */
export function setRequiresGrad(tensor: Tensor, wanted: boolean): void {
  if (wanted === (tensor.edge !== undefined)) return;
  if (wanted && !isFloat(tensor.dtype))
    throw new ArgumentError(`${tensor} cannot have a gradient`, {
      op: 'requiresGrad',
      hint: 'floats have gradients: cast it',
    });
  if (!wanted && !leafOf(tensor))
    throw new ArgumentError(`${tensor} is computed from tensors that require a gradient`, {
      op: 'requiresGrad',
      hint: 'use detach()',
    });
  tensor.storage('requiresGrad', 'x');
  tensor.edge = wanted ? new GraphEdge(new Leaf(), 0) : undefined;
}
