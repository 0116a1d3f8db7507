/**
 * A recurrent part of the network run over stretches of the sequence: training needs the memory of one stretch, and
 * what each began with (checkpoints along time: Chen et al., 2016; Gruslys et al., NeurIPS 2016).
 */
import { fill, slice, writeRowsStep } from '../ops/index.js';
import { ArgumentError } from '../runtime/errors.js';
import { onRuntime } from '../runtime/runtime.js';
import { keep, scope } from '../tensor/scope.js';
import { show } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { GraphEdge, GraphNode, Held, holdEdge } from './graph.js';
import { pausing, recording } from './modes.js';
import { differentiateAgain, type Replay, unrecorded } from './replay.js';

/**
 * Rows from `from` on of a sequence: y of `part` [B, rows, …], as many rows, and what the next stretch begins with.
 * The first begins with nothing.
 */
export type Stretch = (
  part: Tensor,
  from: number,
  carry: readonly Tensor[],
) => readonly [Tensor, ...Tensor[]];

/** What is left of a stretch: how it ran, and what it began with. */
interface Begun {
  from: number;
  to: number;
  carry: readonly Held[];
  replay: Replay;
}

const rows = (x: Tensor, from: number, to: number): Tensor =>
  slice(x, { starts: [0, from], ends: [x.shape[0]!, to] });

/** A tensor like x but for its last axes, where rows are put stretch by stretch. */
function put(whole: Tensor | undefined, part: Tensor, length: number, at: number): Tensor {
  const [batch, , ...row] = part.shape as [number, number, ...number[]];
  const made = () => keep(fill({ shape: [batch, length, ...row], dtype: part.dtype }));
  const target = whole ?? onRuntime(part.runtime, made);
  pausing(() => writeRowsStep(target, part, { at }));
  return target;
}

class SegmentsNode extends GraphNode {
  readonly name = 'segmented';
  readonly edges: readonly (GraphEdge | undefined)[];
  #x: Held | undefined;

  constructor(
    readonly fn: Stretch,
    x: Tensor,
    readonly begun: Begun[],
  ) {
    super();
    this.edges = [holdEdge(x)];
    this.#x = new Held(x);
  }

  differentiate([dy]: readonly (Tensor | undefined)[]): (Tensor | null)[] {
    const x = this.#x!.unchanged(this.name);
    const wanted = this.edges[0] !== undefined;
    let dx: Tensor | undefined;
    let dcarry: (Tensor | undefined)[] = [];
    try {
      for (const { from, to, carry, replay } of [...this.begun].reverse())
        scope(() => {
          const inputs = [rows(x, from, to), ...carry.map((held) => held.tensor())];
          const [dpart, ...before] = differentiateAgain(
            replay,
            (part, ...begin) => this.fn(part!, from, begin),
            inputs,
            inputs.map((_, i) => i > 0 || wanted),
            [rows(dy!, from, to), ...dcarry],
          );
          if (dpart) dx = put(dx, dpart, x.shape[1]!, from);
          for (const grad of dcarry) grad?.dispose();
          dcarry = before.map((grad) => grad && keep(grad)) as (Tensor | undefined)[];
        });
    } catch (error) {
      dx?.dispose();
      throw error;
    } finally {
      for (const grad of dcarry) grad?.dispose();
    }
    const result = dx?.detach();
    dx?.dispose();
    return [result ?? null];
  }

  free(): void {
    this.#x?.release();
    this.#x = undefined;
    for (const { carry } of this.begun.splice(0)) for (const held of carry) held.release();
  }
}

/**
 * y [B, T, …] of x [B, T, …], made by `fn` over `length` rows at a time, each time with what it returned beside y the
 * time before. Nothing in between is kept: backward() runs every stretch again, the last first, and carries the gradient
 * of what they hand on. As in a checkpoint, fn may close over parameters, and gives the same result both times.
 */
export function segmented(fn: Stretch, x: Tensor, length: number): Tensor {
  const op = 'segmented';
  if (x.rank < 2) throw new ArgumentError(`x is ${show(x.shape)}`, { op, hint: 'it is [batch, length, …]' });
  if (!Number.isInteger(length) || length < 1)
    throw new ArgumentError(`length is ${String(length)}`, { op, hint: 'rows of a stretch: at least 1' });
  const total = x.shape[1]!;
  const begun: Begun[] = [];
  const recorded = recording();
  let y: Tensor | undefined;
  let carry: Tensor[] = [];
  try {
    for (let from = 0; from === 0 || from < total; from += length) {
      const to = Math.min(total, from + length);
      const before = carry;
      const [next, replay] = unrecorded(op, () =>
        scope(() => {
          const [part, ...rest] = fn(rows(x, from, to), from, before);
          y = put(y, part, total, from);
          return rest.map((t) => t.detach());
        }),
      );
      if (recorded) begun.push({ from, to, carry: before.map((t) => new Held(t)), replay });
      for (const t of before) t.dispose();
      carry = next.map(keep);
    }
  } catch (error) {
    y?.dispose();
    for (const { carry: held } of begun) for (const t of held) t.release();
    throw error;
  } finally {
    for (const t of carry) t.dispose();
  }
  const result = y!.detach();
  y!.dispose();
  if (recorded) result.edge = new GraphEdge(new SegmentsNode(fn, x, begun), 0);
  return result;
}
