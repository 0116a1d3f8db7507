/**
 * Checkpoints: a part of the network whose intermediate results are not kept but computed again when its gradient is
 * asked for (Chen et al., "Training deep nets with sublinear memory cost", 2016). Memory for time.
 */
import { ArgumentError } from '../runtime/errors.js';
import { isFloat } from '../tensor/dtype.js';
import { scope } from '../tensor/scope.js';
import { describe } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { GraphEdge, GraphNode, Held, holdEdge } from './graph.js';
import { recording } from './modes.js';
import { differentiateAgain, type Replay, unrecorded } from './replay.js';

class CheckpointNode extends GraphNode {
  readonly name = 'checkpoint';
  readonly edges: readonly (GraphEdge | undefined)[];
  #saved: Held[];

  constructor(
    readonly fn: (...inputs: Tensor[]) => readonly Tensor[],
    inputs: readonly Tensor[],
    readonly replay: Replay,
  ) {
    super();
    this.edges = inputs.map(holdEdge);
    this.#saved = inputs.map((t) => new Held(t));
  }

  differentiate(grads: readonly (Tensor | undefined)[]): (Tensor | null)[] {
    return differentiateAgain(
      this.replay,
      this.fn,
      this.#saved.map((held) => held.unchanged(this.name)),
      this.edges.map((edge) => edge !== undefined),
      grads,
    );
  }

  free(): void {
    for (const held of this.#saved) held.release();
    this.#saved = [];
  }
}

/**
 * fn(...inputs), a tensor or a list of them, keeping only the inputs: what fn computes in between is computed again
 * during backward(). fn must give the same result both times; dropout does, for generators are wound back. It may close
 * over parameters, not over other tensors that require a gradient.
 */
export function checkpoint<R extends Tensor | readonly Tensor[]>(
  fn: (...inputs: Tensor[]) => R,
  ...inputs: Tensor[]
): R {
  const op = 'checkpoint';
  if (typeof fn !== 'function')
    throw new ArgumentError(`expected a function but got ${describe(fn)}`, { op, hint: 'checkpoint(fn, x)' });
  if (!recording()) return fn(...inputs);
  inputs.forEach((input, i) => {
    if (!(input instanceof Tensor))
      throw new ArgumentError(`input ${i} is ${describe(input)}`, { op, hint: 'fn may close over the rest' });
  });
  let alone = true;
  const listed = (...leaves: Tensor[]): readonly Tensor[] => {
    const made: unknown = fn(...leaves);
    alone = !Array.isArray(made);
    const list = alone ? [made] : (made as unknown[]);
    for (const y of list)
      if (!(y instanceof Tensor) || !isFloat(y.dtype))
        throw new ArgumentError(`the function returned ${describe(y)}`, {
          op,
          hint: 'it returns a tensor of floats, or a list of them; async functions have no place here',
        });
    return list as Tensor[];
  };
  // What fn returns may be an input, whose place in the graph is its own.
  const [results, replay] = unrecorded(op, () => scope(() => listed(...inputs).map((y) => y.detach())));
  // Recorded whether or not an input requires a gradient: fn may close over parameters that do.
  const node = new CheckpointNode(listed, inputs, replay);
  results.forEach((y, i) => {
    y.edge = new GraphEdge(node, i);
  });
  return (alone ? results[0] : results) as R;
}
