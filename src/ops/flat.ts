/**
 * What the optimisers' steps share. Parameters, gradients and moments lie in flat float32 tensors of whole blocks of
 * 64 elements; `blocks` names the row of `groups` (hyper-parameters, 8 to a row) that holds for each block, and an
 * entry that names no row leaves its block out: a parameter without a gradient, another optimiser's.
 */
import type { Bind, Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { ShapeError } from '../runtime/errors.js';
import { type Spec, show } from '../tensor/shape.js';
import type { InputSpec, Problem } from './contract.js';

/** Elements of a block: 256 bytes, the alignment that every binding has. */
export const BLOCK = 64;
/** Columns of a row of `groups`. */
export const COLUMNS = 8;
/** The entry of `blocks` that is no row whatever the number of groups. */
export const NO_GROUP = 255;
/** Places in `scalars`, the outcome of gradNormStep that the steps after it read. */
export const NORM = 0;
export const COEFFICIENT = 1;
export const FINITE = 2;
export const STEP = 3;

const f32 = (name: string, low: number, high: number): InputSpec => ({
  name,
  dtype: 'float32',
  domain: [low, high],
});

/** The inputs that steps have in common. */
export const flat = {
  params: f32('params', -3, 3),
  grads: f32('grads', -3, 3),
  /** A mean of gradients. */
  mean: (name: string) => f32(name, -1, 1),
  /** A mean of squares. */
  square: (name: string) => f32(name, 0, 1),
  blocks: { name: 'blocks', dtype: 'uint8', domain: [0, 3] } as InputSpec,
  groups: f32('groups', 0.01, 0.9),
  steps: f32('steps', 1, 100),
  scalars: f32('scalars', 0.1, 1),
};

/** Checks what a step is given: equally long flat tensors, the tables' sizes. */
export function checkFlat(op: string, names: readonly InputSpec[], inputs: readonly Spec[]): void {
  const n = inputs[0]!.size;
  const given = inputs.map((s, i) => `${names[i]!.name} ${show(s.shape)}`).join(', ');
  if (n % BLOCK !== 0 || inputs[0]!.rank !== 1)
    throw new ShapeError(`'${names[0]!.name}' is not whole blocks of ${BLOCK} elements: ${given}`, {
      op,
      hint: 'an Arena lays parameters out so',
    });
  names.forEach(({ name }, i) => {
    const s = inputs[i]!;
    const wrong = (expected: string) => {
      throw new ShapeError(`'${name}' does not fit the others: ${given}`, { op, hint: `it is ${expected}` });
    };
    if (name === 'groups') {
      if (s.rank !== 2 || s.shape[1] !== COLUMNS || s.shape[0]! > NO_GROUP)
        wrong(`[G, ${COLUMNS}], at most ${NO_GROUP} groups`);
    } else if (name === 'blocks' || name === 'steps') {
      if (s.rank !== 1 || s.size !== n / BLOCK) wrong(`[${n / BLOCK}]`);
    } else if (name === 'scalars' || name === 'state') {
      if (s.rank !== 1 || s.size !== 4) wrong('[4]');
    } else if (name === 'maxNorm') {
      if (s.size !== 1) wrong('one number');
    } else if (s.rank !== 1 || s.size !== n) wrong(`[${n}]`);
  });
}

/** Calls fn(element, row of its group, its block) for each element of a block that has a group. */
export function eachOf(
  blocks: Float64Array,
  groups: Float64Array,
  fn: (e: number, hyper: Float64Array, block: number) => void,
): void {
  blocks.forEach((g, b) => {
    const hyper = groups.subarray(g * COLUMNS, (g + 1) * COLUMNS);
    if (hyper.length > 0) for (let e = b * BLOCK; e < (b + 1) * BLOCK; e++) fn(e, hyper, b);
  });
}

// ---------------------------------------------------------------- GPU plans

/** A cut of flat tensors begins where 256 bytes of the table of blocks do. */
const CUT = 256 * BLOCK;

/** Ranges of n elements that bindings hold, as many launches. */
export function cuts(n: number, caps: Caps): { first: number; count: number }[] {
  const most = Math.floor(caps.maxBindingBytes / 4 / CUT) * CUT;
  return Array.from({ length: Math.ceil(n / most) }, (_, i) => ({
    first: i * most,
    count: Math.min(most, n - i * most),
  }));
}

/** An operand, or what of it belongs to a range: `per` elements of the flat tensors to each of `bytes`. */
export function bindRange(
  operand: number,
  s: Spec,
  n: number,
  { first, count }: { first: number; count: number },
  write: boolean,
): Bind {
  if (count === n || s.size < n / BLOCK) return { operand, write };
  const bytes = s.bytes / n; // of an element, or a 64th of a block's
  return { operand, write, offset: first * bytes, bytes: Math.ceil((count * bytes) / 64) * 64 };
}

/** Invocations to a block: few on software devices, where what a block costs at all is not shared. */
export const lanesPerBlock = (caps: Caps): number => (caps.type === 'cpu' ? 4 : 16);

/** shaders/<shader>.comp over the blocks of flat tensors: `lanes` invocations to each, all operands bound. */
export function blocksPlan(
  shader: string,
  problem: Problem,
  caps: Caps,
  size: number,
  written: readonly number[],
): GpuPlan {
  const specs = [...problem.inputs, ...problem.outputs];
  const n = problem.inputs[0]!.size;
  const lanes = lanesPerBlock(caps);
  const groups = problem.inputs.find((s) => s.rank === 2)!.shape[0]!;
  return {
    dispatches: cuts(n, caps).map((range): Dispatch => {
      const invocations = (range.count / BLOCK) * lanes;
      return {
        shader,
        spec: [size, lanes],
        push: [invocations, groups],
        groups: Math.ceil(invocations / size),
        binds: specs.map((s, i) =>
          bindRange(i, s, n, range, written.includes(i) || i >= problem.inputs.length),
        ),
      };
    }),
  };
}
