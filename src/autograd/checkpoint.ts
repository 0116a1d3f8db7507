/**
 * Checkpoints: a part of the network whose intermediate results are not kept but computed again when its gradient is
 * asked for (Chen et al., "Training deep nets with sublinear memory cost", 2016). Memory for time.
 */
import { ArgumentError } from '../runtime/errors.js';
import { isFloat } from '../tensor/dtype.js';
import { generator } from '../tensor/generator.js';
import { scope } from '../tensor/scope.js';
import { describe } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { backward } from './backward.js';
import { GraphEdge, GraphNode, Held, holdEdge } from './graph.js';
import { leafOf, setRequiresGrad } from './leaf.js';
import { type Modes, modes, noGrad, recording, resuming, within } from './modes.js';

class CheckpointNode extends GraphNode {
  readonly name = 'checkpoint';
  readonly edges: readonly (GraphEdge | undefined)[];
  #saved: Held[];
  readonly #modes: Modes = modes();

  constructor(
    readonly fn: (...inputs: Tensor[]) => Tensor,
    inputs: readonly Tensor[],
    readonly random: { seed: number; counter: number },
  ) {
    super();
    this.edges = inputs.map(holdEdge);
    this.#saved = inputs.map((t) => new Held(t));
  }

  differentiate(grads: readonly (Tensor | undefined)[]): (Tensor | null)[] {
    const leaves = this.#saved.map((held, i) => {
      const leaf = held.unchanged(this.name);
      if (this.edges[i]) setRequiresGrad(leaf, true);
      return leaf;
    });
    const { state } = generator;
    generator.state = this.random;
    try {
      resuming(() =>
        within({ ...this.#modes, grad: true, casts: this.#modes.autocast && new Map() }, this.name, () => {
          // Parameters that fn closes over get their share here, the inputs below.
          backward(this.fn(...leaves), grads[0]);
        }),
      );
    } finally {
      generator.state = state;
    }
    return leaves.map((leaf) => leafOf(leaf)?.grad?.detach() ?? null);
  }

  free(): void {
    for (const held of this.#saved) held.release();
    this.#saved = [];
  }
}

/**
 * fn(...inputs), a tensor, keeping only the inputs: what fn computes in between is computed again during backward().
 * fn must give the same result both times; dropout does, for its generator is wound back. It may close over parameters.
 */
export function checkpoint(fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor {
  const op = 'checkpoint';
  if (typeof fn !== 'function')
    throw new ArgumentError(`expected a function but got ${describe(fn)}`, { op, hint: 'checkpoint(fn, x)' });
  if (!recording()) return fn(...inputs);
  const random = generator.state;
  const result = noGrad(() => scope(() => fn(...inputs)));
  if (!(result instanceof Tensor) || !isFloat(result.dtype))
    throw new ArgumentError(`the function returned ${describe(result)}`, {
      op,
      hint: 'it returns one tensor of floats; async functions have no place here',
    });
  // Recorded whether or not an input requires a gradient: fn may close over parameters that do.
  result.edge = new GraphEdge(new CheckpointNode(fn, inputs, random), 0);
  return result;
}
