/** Leaves: tensors whose gradient is kept, parameters above all. */
import { accumulateStep, add, mul } from '../ops/index.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { isFloat } from '../tensor/dtype.js';
import { keep } from '../tensor/scope.js';
import { describe, show } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
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

  get slot(): Tensor | undefined {
    return this.#slot;
  }

  /** Gradients go to `slot` from now on; what was accumulated moves there. */
  attach(slot: Tensor | undefined): void {
    const before = this.#grad;
    this.#slot = slot;
    this.#grad = null;
    if (before) this.accumulate(before);
    before?.dispose();
  }

  /** Adds to the gradient, which takes over the bytes of a share unless they are `shared`. */
  accumulate(share: Tensor, shared = false): void {
    const slot = this.#slot;
    if (slot) {
      accumulateStep(slot, share, { replace: this.#grad === null });
      this.#grad = slot;
      return;
    }
    const before = this.#grad;
    this.#grad = keep(before ? add(before, share) : shared ? mul(share, 1) : share.reshape(share.shape));
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

/** Gives a leaf the gradient that it has from now on, or with null none. */
export function setGrad(tensor: Tensor, grad: Tensor | null): void {
  const leaf = leafOf(tensor);
  if (grad === null) {
    if (leaf) leaf.grad = null;
    return;
  }
  const op = 'grad';
  if (!(grad instanceof Tensor))
    throw new ArgumentError(`expected a tensor or null but got ${describe(grad)}`, {
      op,
      hint: 'x.grad = null forgets it',
    });
  if (!leaf)
    throw new ArgumentError(`${tensor} is no leaf and keeps no gradient`, {
      op,
      hint: 'set requiresGrad on it first',
    });
  if (grad.spec !== tensor.spec)
    throw new ShapeError(
      `the gradient is ${show(grad.shape, grad.dtype)} but the tensor is ${show(tensor.shape, tensor.dtype)}`,
      { op, hint: 'they are equal' },
    );
  grad.storage(op, 'x');
  leaf.grad = grad;
}

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
