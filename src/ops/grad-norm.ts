/** The global norm of all gradients, and what follows from it for the step: how much is clipped, whether it counts. */
import type { Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type GpuVariant, type Problem } from './define.js';
import { bytesOf } from './elementwise.js';
import { BLOCK, bindRange, checkFlat, cuts, flat, NO_GROUP } from './flat.js';
import { loneGroup, MOST_TURNS, sharedGroup } from './launch.js';

const inputs = [
  flat.grads,
  { ...flat.blocks, domain: [NO_GROUP - 1, NO_GROUP] as const },
  { name: 'maxNorm', dtype: 'float32' as const, domain: [0.1, 1] as const },
  { name: 'state', dtype: 'float32' as const, domain: [0, 100] as const },
  { name: 'steps', dtype: 'float32' as const, domain: [0, 100] as const },
];
const updates = [3, 4];

// Stages of shaders/grad_norm_step*.comp.
const PARTS = 0; // sums of squares of segments of blocks
const JOIN = 1; // those to the norm, the scalars and the state
const STEPS = 2; // one invocation to a block

/** `team` invocations to a segment of blocks (1, or a workgroup), about `busy` segments. */
function planOf(shader: string, problem: Problem<object>, caps: Caps, team: number, busy: number): GpuPlan {
  const [grads, blocks, , , steps] = problem.inputs;
  const n = grads!.size;
  const [scalars, parts] = [5, 6];
  const group = team > 1 ? team : loneGroup(caps);
  // A block is BLOCK + 1 turns of an invocation, or of a team BLOCK / team.
  const longest = Math.max(1, Math.floor(MOST_TURNS / (BLOCK + 1))) * team;
  const ranges = cuts(n, caps);
  const segment = Math.max(1, Math.min(longest, Math.ceil(n / BLOCK / busy)));
  const partsOf = (count: number) => Math.ceil(count / BLOCK / segment);
  const total = ranges.reduce((sum, { count }) => sum + partsOf(count), 0);
  const launch = (
    stage: number,
    invocations: number,
    range: { first: number; count: number },
    firstPart: number,
  ): Dispatch => ({
    shader,
    spec: [group, stage],
    push: [invocations, range.count / BLOCK, segment, firstPart, total],
    groups: stage === STEPS || team === 1 ? Math.ceil(invocations / group) : invocations,
    binds: [
      bindRange(0, grads!, n, range, false),
      bindRange(1, blocks!, n, range, false),
      { operand: 2 },
      { operand: 3, write: stage === JOIN },
      bindRange(4, steps!, n, range, stage === STEPS),
      { operand: scalars, write: stage === JOIN },
      { operand: parts, write: stage === PARTS },
    ],
  });
  const dispatches: Dispatch[] = [];
  let firstPart = 0;
  for (const range of ranges) {
    dispatches.push(launch(PARTS, partsOf(range.count), range, firstPart));
    firstPart += partsOf(range.count);
  }
  dispatches.push(launch(JOIN, 1, ranges[0] ?? { first: 0, count: n }, 0));
  for (const range of ranges) dispatches.push(launch(STEPS, range.count / BLOCK, range, 0));
  return { scratch: [Math.max(4, total * 4)], dispatches };
}

const shared: GpuVariant<object> = {
  name: 'shared',
  admits: () => null,
  prefers: (_, caps) => caps.type !== 'cpu',
  plan: (problem, caps) => planOf('grad_norm_step_shared', problem, caps, sharedGroup(caps), 256),
};

const simple: GpuVariant<object> = {
  name: 'simple',
  admits: () => null,
  plan: (problem, caps) => planOf('grad_norm_step', problem, caps, 1, 512),
};

/**
 * → scalars [4] = {norm, coefficient, finite, step}, over the blocks of `grads` whose entry is not 255:
 * norm = √Σ g²; coefficient = min(1, maxNorm / (norm + 1e-6)), or 1 where maxNorm is 0.
 * `state` [4] = {steps, skipped, …} counts in place: a step, or, where the norm is not finite, a step skipped (then
 * coefficient and finite are 0). `steps` counts the same of each block that is not left out.
 */
export const gradNormStep = defineOp<
  [grads: Tensor, blocks: Tensor, maxNorm: Tensor, state: Tensor, steps: Tensor]
>()({
  name: 'grad_norm_step',
  doc: '√Σ g² over all gradients, min(1, maxNorm / norm), and whether it is finite',
  inputs,
  updates,
  internal: true,
  attrs: {},
  dtypes: ['float32'],
  infer(given) {
    checkFlat('grad_norm_step', inputs, given);
    return [spec([4], 'float32')];
  },
  reference([grads, blocks, maxNorm, state, steps]) {
    let sum = 0;
    grads!.forEach((g, e) => {
      if (blocks![Math.floor(e / BLOCK)] !== NO_GROUP) sum += g * g;
    });
    const norm = Math.sqrt(sum);
    const finite = Number.isFinite(Math.fround(sum));
    const limit = maxNorm![0]!;
    const next = Float64Array.from(state!);
    next[finite ? 0 : 1]! += 1;
    return [
      Float64Array.of(
        norm,
        finite ? (limit > 0 ? Math.min(1, limit / (norm + 1e-6)) : 1) : 0,
        Number(finite),
        next[0]!,
      ),
      next,
      steps!.map((t, b) => t + Number(finite && blocks![b] !== NO_GROUP)),
    ];
  },
  cpu: ({ inputs: [grads] }) => ({ kernel: 'grad_norm_step', attrs: [grads!.size / BLOCK] }),
  gpu: [shared, simple],
  cost: (problem) => ({
    flops: 2 * problem.inputs[0]!.size,
    bytes: bytesOf(problem),
    family: 'reduce',
  }),
  samples: [
    ...[64, 320, 0, 64 * 1030].map((n) => ({ shapes: shapesOf(n) })),
    { shapes: shapesOf(640), domains: domainsOf({ 2: [0, 0] }) },
    { shapes: shapesOf(640), domains: domainsOf({ 2: [1e4, 1e4] }) },
    { shapes: shapesOf(128), domains: domainsOf({ 0: [Number.NaN, Number.NaN], 1: [0, 0] }) },
    { shapes: shapesOf(128), domains: domainsOf({ 0: [Number.NaN, Number.NaN], 1: [NO_GROUP, NO_GROUP] }) },
    { shapes: shapesOf(64 * 70001), heavy: true },
  ],
  invalid: [
    { shapes: [[60], [1], [1], [4], [1]], dtypes: dtypesOf(), code: 'ATTN_SHAPE' },
    { shapes: [[64], [2], [1], [4], [1]], dtypes: dtypesOf(), code: 'ATTN_SHAPE' },
    { shapes: [[64], [1], [2], [4], [1]], dtypes: dtypesOf(), code: 'ATTN_SHAPE' },
    { shapes: [[64], [1], [1], [3], [1]], dtypes: dtypesOf(), code: 'ATTN_SHAPE' },
  ],
});

function shapesOf(n: number) {
  return [[n], [n / BLOCK], [1], [4], [n / BLOCK]];
}

function domainsOf(other: Record<number, readonly [number, number]>) {
  return inputs.map((input, i) => other[i] ?? input.domain!);
}

function dtypesOf() {
  return inputs.map((i) => i.dtype!);
}
