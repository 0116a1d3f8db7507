/**
 * The gradients of linear on Vulkan, launch by launch: dz = dy act'(z) in the dtype of x, dx = dz W, dW = dzᵀ x, and
 * db, the sums of the columns of dz, in segments that a second launch joins.
 */
import type { Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { dtypeCode, perWord } from '../tensor/dtype.js';
import { activationCode } from './activations.js';
import type { GpuVariant, Problem } from './contract.js';
import { cutLines, loneGroup, mapGroup, overBinding } from './launch.js';
import { single } from './linear.gpu.js';
import { type LinearBackwardAttrs, sizesOf } from './linear.walk.js';
import { type Place, type Product, placed, type Tier, tiers } from './matmul.gpu.js';

type BackwardProblem = Problem<LinearBackwardAttrs>;

// Stages of shaders/column_sum.comp.
const PARTS = 0;
const JOIN = 1;

/** Where dz lies and how it gets there: dy itself, or scratch. */
function slopeLaunch({ inputs: [dy, x, , z], attrs }: BackwardProblem, free: number, caps: Caps) {
  if (!z && dy!.dtype === x!.dtype) return { dz: placed(0, dy!), dispatches: [], scratch: [] };
  const bytes = (4 / perWord(x!.dtype)) * dy!.size;
  const dz: Place = { operand: free, dtype: x!.dtype, bytes };
  const group = mapGroup(caps);
  const units = Math.ceil(dy!.size / 4);
  const dispatch: Dispatch = {
    shader: 'linear_slope',
    spec: [group, activationCode[attrs.activation], dtypeCode[dy!.dtype], dtypeCode[x!.dtype]],
    push: [units],
    groups: Math.ceil(units / group),
    binds: [
      { operand: 0, write: false },
      { operand: z ? 3 : 0, write: false },
      { operand: free, write: true },
    ],
  };
  return { dz, dispatches: dispatch.groups > 0 ? [dispatch] : [], scratch: [units * 16] };
}

/** Column sums of dz [rows, columns] to `out`, in segments of rows. */
function sumLaunches(
  dz: Place,
  rows: number,
  out: Place,
  columns: number,
  free: number,
  caps: Caps,
): GpuPlan {
  const { length, segments } = cutLines(columns, rows, 64, 1, caps);
  const group = loneGroup(caps);
  const launch = (
    stage: number,
    invocations: number,
    binds: [Place['operand'], Place['operand']],
  ): Dispatch => ({
    shader: 'column_sum',
    spec: [group, dtypeCode[dz.dtype], dtypeCode[out.dtype], stage],
    push: [invocations, columns, stage === PARTS ? rows : segments, length],
    groups: Math.ceil(invocations / group),
    binds: [
      { operand: binds[0], write: false },
      { operand: binds[1], write: true },
    ],
  });
  return {
    dispatches: [
      launch(PARTS, columns * segments, [dz.operand, free]),
      launch(JOIN, Math.ceil(columns / perWord(out.dtype)), [free, out.operand]),
    ],
    scratch: [columns * segments * 4],
  };
}

/** The products that are wanted: dx, dW. `free` follows what the plan has used up. */
function productsOf(problem: BackwardProblem, dz: Place, free: number): Product[] {
  const { inputs, outputs, attrs } = problem;
  const [, x, weight] = inputs;
  const { rows, inner, outer } = sizesOf(x!, weight!);
  const first = inputs.length;
  const common = { ...single, a: dz, activation: 'none' as const, transposeB: false, free };
  const products: Product[] = [];
  if (attrs.input)
    products.push({
      ...common,
      m: rows,
      n: inner,
      k: outer,
      b: placed(2, weight!),
      out: placed(first, outputs[0]!),
      transposeA: false,
    });
  if (attrs.weight)
    products.push({
      ...common,
      m: outer,
      n: inner,
      k: rows,
      b: placed(1, x!),
      out: placed(first + 1, outputs[1]!),
      transposeA: true,
    });
  return products;
}

function plan(problem: BackwardProblem, caps: Caps, tier: Tier): GpuPlan {
  const { inputs, outputs, attrs } = problem;
  const { rows, inner, outer } = sizesOf(inputs[1]!, inputs[2]!);
  if (rows * outer * inner === 0) return { dispatches: [] };
  const first = inputs.length;
  const scratch: number[] = [];
  const dispatches: Dispatch[] = [];
  const add = (part: GpuPlan) => {
    dispatches.push(...part.dispatches);
    scratch.push(...(part.scratch ?? []));
  };
  const free = () => first + outputs.length + scratch.length;
  const slope = slopeLaunch(problem, free(), caps);
  add(slope);
  for (const i of productsOf(problem, slope.dz, 0).keys())
    add(tier.plan(productsOf(problem, slope.dz, free())[i]!, caps));
  if (attrs.biasDtype) add(sumLaunches(slope.dz, rows, placed(first + 2, outputs[2]!), outer, free(), caps));
  return { dispatches, scratch };
}

const variant = (tier: Tier): GpuVariant<LinearBackwardAttrs> => {
  const products = (problem: BackwardProblem, caps: Caps) => {
    const free = problem.inputs.length + problem.outputs.length;
    return productsOf(problem, slopeLaunch(problem, free, caps).dz, free);
  };
  return {
    name: tier.name,
    admits(problem, caps) {
      const { rows, inner, outer } = sizesOf(problem.inputs[1]!, problem.inputs[2]!);
      if (rows * inner * outer === 0) return 'sums of nothing are left to the CPU';
      const refusals = products(problem, caps).map((p) => tier.admits(p, caps));
      return overBinding([...problem.inputs, ...problem.outputs], caps) ?? refusals.find((r) => r) ?? null;
    },
    prefers: (problem, caps) => products(problem, caps).every((p) => tier.prefers(p, caps)),
    plan: (problem, caps) => plan(problem, caps, tier),
  };
};

export const linearBackwardVariants: readonly GpuVariant<LinearBackwardAttrs>[] = tiers.map(variant);
