/** sum, mean, max and argmax on Vulkan: which of the kernels (shaders/reduce*.comp) runs a problem, and how it is cut. */
import type { Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { dtypeCode, floatBits, perWord } from '../tensor/dtype.js';
import { type Spec, sizeOf } from '../tensor/shape.js';
import type { GpuVariant, Problem } from './contract.js';
import {
  fixedSubgroups,
  loneGroup,
  MOST_TURNS,
  overBinding,
  padLeft,
  sharedGroup,
  windowElements,
  windowOf,
  wordsOf,
} from './launch.js';
import { type Geometry, geometryOf, type Kind, opCode, type ReduceAttrs, rowLength } from './reduce.walk.js';

const WHOLE = 0; // input to output
const TO_PARTS = 1; // input to partial results in scratch
const FROM_PARTS = 2; // partial results to output

/** Words of a partial result: argmax carries the value and its place. */
const partWords = (kind: Kind): number => (kind === 'argmax' ? 2 : 1);

const header = (kind: Kind, x: Spec, stage: number, group: number): number[] => [
  group,
  opCode[kind],
  dtypeCode[x.dtype],
  stage,
];

/** shaders/reduce.comp: one invocation to a word of output (to a partial result, when the reduction is cut). */
function simpleDispatch(
  kind: Kind,
  problem: Problem<ReduceAttrs>,
  caps: Caps,
  stage: number,
  walk: { kept: Geometry['groups']; reduced: Geometry['groups'] },
  parts: { segments: number; length: number },
): Dispatch {
  const x = problem.inputs[0]!;
  const y = problem.outputs[0]!;
  const { count } = geometryOf(problem);
  const group = loneGroup(caps);
  const invocations = stage === TO_PARTS ? y.size * parts.segments : wordsOf(y);
  const scratch = 2;
  return {
    shader: 'reduce',
    spec: header(kind, x, stage, group),
    push: [
      invocations,
      y.size,
      sizeOf(walk.reduced.map((g) => g.size)),
      parts.length,
      floatBits(count),
      ...[walk.kept, walk.reduced].flatMap((side) => [
        ...padLeft(
          side.map((g) => g.size),
          4,
          1,
        ),
        ...padLeft(
          side.map((g) => g.stride),
          4,
          0,
        ),
      ]),
    ],
    groups: Math.ceil(invocations / group),
    binds: [
      { operand: stage === FROM_PARTS ? scratch : 0, write: false },
      { operand: stage === TO_PARTS ? scratch : 1, write: true },
    ],
  };
}

/** The second launch of a cut reduction: partial results lie [outputs, segments]. */
const joinDispatch = (kind: Kind, problem: Problem<ReduceAttrs>, caps: Caps, segments: number): Dispatch =>
  simpleDispatch(
    kind,
    problem,
    caps,
    FROM_PARTS,
    {
      kept: [{ size: problem.outputs[0]!.size, stride: segments, reduced: false }],
      reduced: [{ size: segments, stride: 1, reduced: true }],
    },
    { segments, length: segments },
  );

const simple = (kind: Kind): GpuVariant<ReduceAttrs> => ({
  name: 'simple',
  admits: (problem, caps) => overBinding([...problem.inputs, ...problem.outputs], caps),
  plan(problem, caps): GpuPlan {
    const { groups, outputs, count } = geometryOf(problem);
    if (outputs === 0) return { dispatches: [] };
    const walk = { kept: groups.filter((g) => !g.reduced), reduced: groups.filter((g) => g.reduced) };
    // Cut long reductions to few outputs until there is work for the whole device.
    const busy = caps.type === 'cpu' ? 512 : 16384;
    let wanted = Math.min(Math.ceil(busy / outputs), Math.floor(count / 512), 1024);
    if (count * perWord(problem.outputs[0]!.dtype) > MOST_TURNS)
      wanted = Math.max(wanted, Math.ceil(count / MOST_TURNS), 2);
    if (wanted < 2)
      return {
        dispatches: [simpleDispatch(kind, problem, caps, WHOLE, walk, { segments: 1, length: count })],
      };
    const length = Math.ceil(count / wanted);
    const segments = Math.ceil(count / length);
    return {
      scratch: [outputs * segments * partWords(kind) * 4],
      dispatches: [
        simpleDispatch(kind, problem, caps, TO_PARTS, walk, { segments, length }),
        joinDispatch(kind, problem, caps, segments),
      ],
    };
  },
});

/** shaders/reduce_*.comp: a team (a subgroup, or a workgroup with shared memory) to each row. */
function rowsPlan(
  kind: Kind,
  problem: Problem<ReduceAttrs>,
  caps: Caps,
  shader: string,
  team: number,
): GpuPlan {
  const x = problem.inputs[0]!;
  const y = problem.outputs[0]!;
  const geometry = geometryOf(problem);
  const { outputs, count } = geometry;
  const n = rowLength(geometry);
  const limit = windowElements(x, caps);
  const perOutput = perWord(y.dtype);
  const busy = caps.type === 'cpu' ? 32 : 512;
  const unit = 4 * perWord(x.dtype); // elements of a vector load
  let segments = Math.max(1, Math.min(Math.ceil(busy / outputs), Math.floor(n / 4096), 256));
  if (n * perOutput > limit) segments = Math.max(segments, Math.ceil((4 * n) / limit));
  if (n * perOutput > MOST_TURNS * team) segments = Math.max(segments, Math.ceil(n / (MOST_TURNS * team)), 2);
  const length = segments === 1 ? n : Math.ceil(n / segments / unit) * unit;
  segments = Math.ceil(n / length);
  const cut = segments > 1;

  // Units of work: words of output, or segments. Each launch binds the window of the input that its units read.
  const units = cut ? outputs * segments : wordsOf(y);
  const start = (u: number) =>
    cut ? Math.floor(u / segments) * n + (u % segments) * length : Math.min(u * perOutput, outputs) * n;
  const most = Math.max(1, Math.floor(limit / (cut ? length : perOutput * n)));
  const dispatches: Dispatch[] = [];
  for (let u = 0; u < units; u += most) {
    const launched = Math.min(most, units - u);
    const { bind, skip } = windowOf(0, x, start(u), start(u + launched));
    const vectors = [n, length, skip].every((k) => k % unit === 0);
    dispatches.push({
      shader,
      spec: [...header(kind, x, cut ? TO_PARTS : WHOLE, team), vectors ? 1 : 0],
      push: [u, outputs, n, segments, length, (start(u) - skip) >>> 0, floatBits(count)],
      groups: launched,
      binds: [bind, { operand: cut ? 2 : 1, write: true }],
    });
  }
  if (!cut) return { dispatches };
  dispatches.push(joinDispatch(kind, problem, caps, segments));
  return { scratch: [outputs * segments * partWords(kind) * 4], dispatches };
}

function admitsRows(problem: Problem<ReduceAttrs>, caps: Caps): string | null {
  const geometry = geometryOf(problem);
  if (geometry.outputs * geometry.count === 0) return 'there is nothing to reduce';
  if (rowLength(geometry) === 0) return 'the reduction is not over rows of neighbours';
  return overBinding(problem.outputs, caps);
}

const subgroup = (kind: Kind): GpuVariant<ReduceAttrs> => ({
  name: 'subgroup',
  admits: (problem, caps) => fixedSubgroups(caps) ?? admitsRows(problem, caps),
  prefers(problem, caps) {
    const n = rowLength(geometryOf(problem));
    return n >= 4 * caps.subgroupSize && (caps.type === 'cpu' || n <= 1024);
  },
  plan: (problem, caps) => rowsPlan(kind, problem, caps, 'reduce_subgroup', caps.subgroupSize),
});

const shared = (kind: Kind): GpuVariant<ReduceAttrs> => ({
  name: 'shared',
  admits: admitsRows,
  prefers: (problem, caps) => caps.type !== 'cpu' && rowLength(geometryOf(problem)) >= 128,
  plan: (problem, caps) => rowsPlan(kind, problem, caps, 'reduce_shared', sharedGroup(caps)),
});

/** The kernels of one kind of reduction, best first. */
export const reduceVariants = (kind: Kind): GpuVariant<ReduceAttrs>[] => [
  subgroup(kind),
  shared(kind),
  simple(kind),
];
