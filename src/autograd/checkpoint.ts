/**
 * Checkpoints: a part of the network whose intermediate results are not kept but computed again when its gradient is
 * asked for (Chen et al., "Training deep nets with sublinear memory cost", 2016). Memory for time.
 */
import { ArgumentError } from '../runtime/errors.js';
import { isFloat } from '../tensor/dtype.js';
import { type Draws, drawing, rewound } from '../tensor/generator.js';
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
    readonly random: Draws,
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
    rewound(this.random, () =>
      resuming(() =>
        within({ ...this.#modes, grad: true, casts: this.#modes.autocast && new Map() }, this.name, () => {
          // Parameters that fn closes over get their share here, the inputs below.
          const y = this.fn(...leaves);
          if (y.edge) backward(y, grads[0]); // none of what it is made of may require a gradient
        }),
      ),
    );
    return leaves.map((leaf) => leafOf(leaf)?.grad?.detach() ?? null);
  }

  free(): void {
    for (const held of this.#saved) held.release();
    this.#saved = [];
  }
}

/**
 * fn(...inputs), a tensor, keeping only the inputs: what fn computes in between is computed again during backward().
 * fn must give the same result both times; dropout does, for generators are wound back. It may close over parameters, not
 * over other tensors that require a gradient.
 */
export function checkpoint(fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor {
  const op = 'checkpoint';
  if (typeof fn !== 'function')
    throw new ArgumentError(`expected a function but got ${describe(fn)}`, { op, hint: 'checkpoint(fn, x)' });
  if (!recording()) return fn(...inputs);
  inputs.forEach((input, i) => {
    if (!(input instanceof Tensor))
      throw new ArgumentError(`input ${i} is ${describe(input)}`, { op, hint: 'fn may close over the rest' });
  });
  const [result, random] = drawing(() =>
    noGrad(() =>
      scope(() => {
        const y: unknown = fn(...inputs);
        if (!(y instanceof Tensor) || !isFloat(y.dtype))
          throw new ArgumentError(`the function returned ${describe(y)}`, {
            op,
            hint: 'it returns one tensor of floats; async functions have no place here',
          });
        return y.detach(); // it may be an input, whose place in the graph is its own
      }),
    ),
  );
  // Recorded whether or not an input requires a gradient: fn may close over parameters that do.
  result.edge = new GraphEdge(new CheckpointNode(fn, inputs, random), 0);
  return result;
}
