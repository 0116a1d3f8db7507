/**
 * An arena: parameters laid out one after the other in a flat float32 tensor, their gradients in another, so that one
 * kernel updates all of them. Each slot begins at a multiple of 64 elements; what lies between slots is 0 and stays so.
 * The parameters become views of their slots and keep their identity.
 */
import { leafOf } from '../autograd/leaf.js';
import { pausing } from '../autograd/modes.js';
import { BLOCK } from '../ops/flat.js';
import { accumulateStep, fill } from '../ops/index.js';
import { ArgumentError, DisposedError, DTypeError } from '../runtime/errors.js';
import { onRuntime, type Runtime } from '../runtime/runtime.js';
import { keep, scope } from '../tensor/scope.js';
import { describe, type Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { viewOf } from '../tensor/view.js';

/** Elements of as many blocks as a view of a float32 entry for each may begin at. */
const RUN = BLOCK * 64;

/** The arena that holds a parameter. */
const owners = new WeakMap<Tensor, Arena>();

export class Arena {
  readonly params: readonly Tensor[];
  /** Where the slot of each parameter begins, in elements. */
  readonly offsets: readonly number[];
  /** Elements, those between slots included. */
  readonly size: number;
  readonly runtime: Runtime;
  /** [size]: the parameters, and their gradients. */
  readonly values: Tensor;
  readonly grads: Tensor;
  readonly #kept: Tensor[] = [];
  /** Where the gradient of each parameter lies. */
  readonly #slots: Tensor[] = [];
  #disposed = false;

  /**
   * @param runs parameters (by number) before which a run begins whose entries in any table of blocks a view can name
   * @throws ArgumentError where a parameter is given twice or belongs to another optimiser
   */
  constructor(params: readonly Tensor[], op = 'Arena', runs: readonly number[] = []) {
    checkParams(params, op);
    this.params = [...params];
    this.runtime = params[0]!.runtime;
    let size = 0;
    this.offsets = params.map((p, i) => {
      const at = runs.includes(i) ? Math.ceil(size / RUN) * RUN : size;
      size = at + Math.ceil(p.size / BLOCK) * BLOCK;
      return at;
    });
    this.size = size;
    this.values = this.flat();
    this.grads = this.flat();
    pausing(() =>
      scope(() => {
        for (const [i, p] of params.entries()) this.#adopt(p, i);
      }),
    );
  }

  #adopt(param: Tensor, i: number): void {
    const slot = this.slot(this.values, i);
    accumulateStep(slot, param, { replace: true });
    param.rebase(slot.storage('Arena', 'slot'));
    const grad = keep(this.slot(this.grads, i));
    this.#kept.push(grad);
    this.#slots.push(grad);
    leafOf(param)!.attach(grad);
    owners.set(param, this);
  }

  /** A flat tensor of zeros beside the parameters: a moment, say. It lives as long as the arena. */
  flat(elements = this.size): Tensor {
    const made = zeros([elements], this.runtime);
    this.#kept.push(made);
    return made;
  }

  /** Which parameters have a gradient. One that was frozen since and thawed again is a new leaf: it is led here. */
  gathered(): boolean[] {
    return this.params.map((p, i) => {
      const leaf = leafOf(p);
      if (leaf && leaf.slot !== this.#slots[i]) pausing(() => scope(() => leaf.attach(this.#slots[i])));
      return p.grad !== null;
    });
  }

  /** Gradients begin anew: one that failed, with the batch that made it, is forgotten. */
  renew(): void {
    this.runtime.heal(this.grads.storage('zeroGrad', 'grads').buffer);
  }

  /** The part of a flat tensor that belongs to a parameter, in the parameter's shape. */
  slot(flat: Tensor, i: number): Tensor {
    return viewOf(flat, this.offsets[i]!, this.params[i]!.shape);
  }

  /** Blocks of 64 elements that belong to a parameter: the first, and the one after the last. */
  blocksOf(i: number): [first: number, end: number] {
    const first = this.offsets[i]! / BLOCK;
    return [first, first + Math.ceil(this.params[i]!.size / BLOCK)];
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** Throws where the arena or a parameter is gone. */
  check(op: string): void {
    if (this.#disposed)
      throw new DisposedError('the optimiser was disposed', { op, hint: 'make a new one of the parameters' });
    for (const [i, p] of this.params.entries()) p.storage(op, `parameter ${i}`);
  }

  /** Ends the gradients and moments. The parameters live on, and may join another optimiser. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const p of this.params) {
      owners.delete(p);
      const leaf = leafOf(p);
      if (!leaf) continue;
      leaf.grad = null;
      leaf.attach(undefined);
    }
    for (const t of this.#kept) t.dispose();
  }
}

function checkParams(params: readonly Tensor[], op: string): void {
  if (params.length === 0)
    throw new ArgumentError('there are no parameters', { op, hint: 'give model.parameters()' });
  const seen = new Set<Tensor>();
  params.forEach((p, i) => {
    if (!(p instanceof Tensor))
      throw new ArgumentError(`parameter ${i} is ${describe(p)}`, { op, hint: 'give model.parameters()' });
    p.storage(op, `parameter ${i}`);
    if (p.dtype !== 'float32')
      throw new DTypeError(`parameter ${i} is ${p}`, {
        op,
        hint: 'parameters are float32; autocast computes in halves',
      });
    if (!leafOf(p))
      throw new ArgumentError(`parameter ${i}, ${p}, is no leaf that requires a gradient`, {
        op,
        hint: 'set requiresGrad on it',
      });
    if (seen.has(p))
      throw new ArgumentError(`parameter ${i}, ${p}, is given twice`, {
        op,
        hint: 'tied weights are given once',
      });
    if (owners.has(p))
      throw new ArgumentError(`parameter ${i}, ${p}, belongs to another optimiser`, {
        op,
        hint: 'dispose that one first',
      });
    if (p.runtime !== params[0]!.runtime)
      throw new ArgumentError(`parameter ${i}, ${p}, is of another runtime`, {
        op,
        hint: 'one runtime each',
      });
    seen.add(p);
  });
}

/** Zeros outside every scope. */
export const zeros = (shape: Shape, runtime: Runtime): Tensor =>
  onRuntime(runtime, () => keep(fill({ shape, value: 0 })));
