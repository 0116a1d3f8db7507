/** Cross-entropy on Vulkan: a team to each row of logits, then one sum over the rows; backward, one map. */
import type { Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { dtypeCode, floatBits, perWord } from '../tensor/dtype.js';
import type { GpuVariant, Problem } from './contract.js';
import { type CrossEntropyAttrs, reductions, rowsOf } from './cross-entropy.rows.js';
import {
  FAULT,
  fixedSubgroups,
  loneGroup,
  mapGroup,
  overTurns,
  sharedGroup,
  split,
  windowElements,
  windowOf,
} from './launch.js';

/** Rows to a launch: what a binding holds of the logits. */
const rowsPerLaunch = (problem: Problem<CrossEntropyAttrs>, caps: Caps): number =>
  Math.floor(windowElements(problem.inputs[0]!, caps) / rowsOf(problem).n);

function admits(problem: Problem<CrossEntropyAttrs>, caps: Caps, team: number): string | null {
  const { rows, n } = rowsOf(problem);
  if (rowsPerLaunch(problem, caps) === 0)
    return `a row is larger than a binding of ${caps.maxBindingBytes} bytes`;
  if (4 * rows > caps.maxBindingBytes) return 'one number a row is more than a binding holds';
  // Two passes over the row; and the joins of the rows' losses.
  return overTurns(Math.max(2 * Math.ceil(n / team), segmentsOf(rows, caps).length), caps);
}

const PARTS = 0; // losses to the sum of each segment
const JOIN = 1; // the sums of segments to one
const WHOLE = 2; // losses to one sum

/** How the losses are added: in one launch, or in two where they are many. */
function segmentsOf(rows: number, caps: Caps): { length: number; segments: number } {
  if (rows <= (caps.type === 'cpu' ? 4096 : 512)) return { length: Math.max(1, rows), segments: 1 };
  const length = Math.max(Math.ceil(rows / 512), 64);
  return { length, segments: Math.ceil(rows / length) };
}

/** shaders/cross_entropy_*.comp, then shaders/cross_entropy_sum.comp. `lone`: an invocation is a team. */
function plan(
  problem: Problem<CrossEntropyAttrs>,
  caps: Caps,
  shader: string,
  group: number,
  lone: boolean,
): GpuPlan {
  const { inputs, attrs } = problem;
  const x = inputs[0]!;
  const { rows, n } = rowsOf(problem);
  const lanes = perWord(x.dtype);
  const [loss, lse, count, losses, parts] = [2, 3, 4, 5, 6];
  const most = rowsPerLaunch(problem, caps);
  const dispatches: Dispatch[] = [];
  for (let row = 0; row < rows; row += most) {
    const some = Math.min(most, rows - row);
    const { bind, skip } = windowOf(0, x, row * n, (row + some) * n);
    dispatches.push({
      shader,
      spec: [group, dtypeCode[x.dtype], n % lanes === 0 ? 1 : 0, attrs.labelSmoothing > 0 ? 1 : 0],
      push: [row, row + some, n, skip, attrs.ignoreIndex >>> 0, floatBits(attrs.labelSmoothing)],
      groups: lone ? Math.ceil(some / group) : some,
      binds: [
        bind,
        { operand: 1 },
        { operand: attrs.reduction === 'none' ? loss : losses },
        { operand: lse },
        { operand: FAULT, write: true },
      ],
    });
  }
  if (attrs.reduction === 'none') return { dispatches };
  const { length, segments } = segmentsOf(rows, caps);
  const add = (stage: number, invocations: number, from: number): Dispatch => ({
    shader: 'cross_entropy_sum',
    spec: [Math.min(loneGroup(caps), 64), stage],
    push: [
      invocations,
      stage === JOIN ? segments : rows,
      stage === JOIN ? segments : length,
      attrs.ignoreIndex >>> 0,
      reductions.indexOf(attrs.reduction),
    ],
    groups: Math.ceil(invocations / Math.min(loneGroup(caps), 64)),
    binds: [
      { operand: from, write: false },
      { operand: 1 },
      { operand: stage === PARTS ? parts : loss },
      { operand: stage === PARTS ? loss : count, write: stage !== PARTS },
    ],
  });
  if (segments === 1) dispatches.push(add(WHOLE, 1, losses));
  else dispatches.push(add(PARTS, segments, losses), add(JOIN, 1, parts));
  return { scratch: [Math.max(4, 4 * rows), 8 * segments], dispatches };
}

/** On software drivers an invocation a row is as good as any team, unless the row is too long for it. */
export const forwardVariants: readonly GpuVariant<CrossEntropyAttrs>[] = [
  {
    name: 'shared',
    admits: (problem, caps) => admits(problem, caps, sharedGroup(caps)),
    prefers(problem, caps) {
      const { n } = rowsOf(problem);
      return caps.type !== 'cpu' && (n > 1024 || (n >= 128 && fixedSubgroups(caps) !== null));
    },
    plan: (problem, caps) => plan(problem, caps, 'cross_entropy_shared', sharedGroup(caps), false),
  },
  {
    name: 'subgroup',
    admits: (problem, caps) => fixedSubgroups(caps) ?? admits(problem, caps, caps.subgroupSize),
    prefers: (problem, caps) => caps.type !== 'cpu' && rowsOf(problem).n >= 4 * caps.subgroupSize,
    plan: (problem, caps) => plan(problem, caps, 'cross_entropy_subgroup', caps.subgroupSize, false),
  },
  {
    name: 'simple',
    admits: (problem, caps) => admits(problem, caps, 1),
    plan: (problem, caps) => plan(problem, caps, 'cross_entropy_simple', loneGroup(caps), true),
  },
];

export const backwardVariants: readonly GpuVariant<CrossEntropyAttrs>[] = [
  {
    name: 'simple',
    admits({ inputs: [, logits, labels] }, caps) {
      if (4 * labels!.size > caps.maxBindingBytes) return 'one number a row is more than a binding holds';
      return logits!.size < 2 ** 32 ? null : 'elements are counted in 32 bits';
    },
    plan({ inputs, outputs: [dx], attrs }, caps) {
      const n = dx!.shape.at(-1)!;
      const size = mapGroup(caps);
      const vectors = n % (4 * perWord(dx!.dtype)) === 0;
      const operands = [...inputs, dx!].map((spec, i) => ({ spec, moves: i === 1 || i === 5 ? 1 : 0 }));
      return {
        dispatches: split(operands, dx!.size, caps, ({ first, count }, binds) => {
          const units = Math.ceil(count / perWord(dx!.dtype) / (vectors ? 4 : 1));
          return {
            shader: 'cross_entropy_backward',
            spec: [size, dtypeCode[dx!.dtype], vectors ? 1 : 0],
            push: [
              units,
              first,
              count,
              n,
              attrs.ignoreIndex >>> 0,
              floatBits(1 - attrs.labelSmoothing),
              floatBits(attrs.labelSmoothing / n),
              reductions.indexOf(attrs.reduction),
            ],
            groups: Math.ceil(units / size),
            binds,
          };
        }),
      };
    },
  },
];
