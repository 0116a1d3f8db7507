/**
 * Simplicial attention on Vulkan: shaders/simplicial*.comp, in which each invocation works alone. A gradient is what it
 * needs of each query, then one launch for each of dq, dk, dv, dk2, dv2: none adds into what another writes, so it is the
 * same at every run.
 */
import type { Bind, Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { dtypeCode, floatBits, perWord } from '../tensor/dtype.js';
import type { GpuVariant, Problem } from './contract.js';
import { loneGroup, overBinding, overTurns, Scratch, widenedBytes } from './launch.js';
import {
  type SimplicialAttrs,
  type SimplicialSizes,
  simplicialScores,
  simplicialSizes,
} from './simplicial.walk.js';

type SimplicialProblem = Problem<SimplicialAttrs>;

const COLUMNS = 8; // = shaders/lib/simplicial.glsl

const sizesOf = ({ inputs, attrs }: SimplicialProblem, q: number): SimplicialSizes =>
  simplicialSizes(inputs[q]!.shape, inputs[q + 1]!.shape, attrs);

/** Heads of an odd number of halves end within a word: their results go through fp32 scratch. */
const ragged = (problem: SimplicialProblem, s: SimplicialSizes) =>
  perWord(problem.inputs[0]!.dtype) === 2 && s.D % 2 === 1;

const read = (operand: number): Bind => ({ operand, write: false });

/** A plan in the making: its scratch, and where the outputs of the call's dtype are written. */
class Plan {
  readonly scratch: Scratch;
  readonly dispatches: Dispatch[] = [];

  constructor(
    readonly problem: SimplicialProblem,
    readonly s: SimplicialSizes,
    readonly caps: Caps,
  ) {
    this.scratch = new Scratch(problem);
  }

  target(output: number): Bind {
    const operand = this.problem.inputs.length + output;
    return { operand: ragged(this.problem, this.s) ? this.scratch.widened(operand) : operand, write: true };
  }

  /**
   * A launch over `units` queries or keys; `turned` where k2 and v2 are bound in the places of k and v.
   * `maskAt` counts floats.
   */
  launch(
    shader: string,
    units: number,
    wanted: number,
    turned: boolean,
    maskAt: number,
    binds: Bind[],
  ): void {
    if (units === 0) return;
    const { problem, s, caps } = this;
    const dtype = dtypeCode[problem.inputs[0]!.dtype];
    const size = caps.type === 'cpu' ? 8 : Math.min(64, loneGroup(caps));
    const mask = problem.inputs.at(-1)!.dtype === 'bool';
    const determinant = s.score === 'determinant';
    this.dispatches.push({
      shader,
      spec: [
        size,
        dtype,
        ragged(problem, s) ? dtypeCode.float32 : dtype,
        simplicialScores.indexOf(s.score),
        Number(s.D % 4 === 0),
        wanted,
        2 ** Math.max(2, Math.ceil(Math.log2(s.D / 4))),
      ],
      push: [
        ...[units, s.Tq, s.Tk, s.Hq, s.Hq / s.Hkv, s.D, Number(s.causal)],
        ...(turned ? [s.w2, s.w1] : [s.w1, s.w2]),
        floatBits(s.scale),
        // det[q, k, k2] = k (k2 × q) = k2 (q × k): what is multiplied with the other key, by the key that is bound first.
        floatBits(determinant && shader === 'simplicial_dkv' && !turned ? -1 : 1),
        Number(mask),
        maskAt,
      ],
      groups: Math.ceil(units / size),
      binds,
    });
  }

  done(): GpuPlan {
    const { dispatches, scratch, caps } = this;
    if (dispatches.length === 0) return { dispatches };
    return { dispatches: [...dispatches, ...scratch.narrow(caps)], scratch: scratch.bytes };
  }
}

function planForward(problem: SimplicialProblem, caps: Caps): GpuPlan {
  const s = sizesOf(problem, 0);
  const plan = new Plan(problem, s, caps);
  const out = problem.inputs.length;
  const inputs = [0, 1, 2, 3, 4, problem.inputs.length > 5 ? 5 : 0].map(read);
  // Eight bindings do not hold both statistics: the rare call that wants entropies sweeps twice.
  for (const wanted of problem.attrs.entropy ? [0, 1] : [0])
    plan.launch('simplicial', s.B * s.Hq * s.Tq, wanted, false, 0, [
      ...inputs,
      plan.target(0),
      { operand: out + 1 + wanted, write: true },
    ]);
  return plan.done();
}

function planBackward(problem: SimplicialProblem, caps: Caps): GpuPlan {
  const s = sizesOf(problem, 1);
  const plan = new Plan(problem, s, caps);
  const [queries, keys] = [s.B * s.Hq * s.Tq, s.B * s.Hkv * s.Tk];
  const masked = problem.inputs[8]?.size ?? 0;
  const [dy, q, k, v, k2, v2, o, lse, mask] = [0, 1, 2, 3, 4, 5, 6, 7, masked > 0 ? 8 : 7];
  const maskAt = 2 * queries;
  const rows = plan.scratch.add(4 * (maskAt + masked));
  if (queries > 0) {
    const size = loneGroup(caps);
    plan.dispatches.push({
      shader: 'simplicial_rows',
      spec: [size, dtypeCode[problem.inputs[0]!.dtype]],
      push: [queries, s.Tq, s.Hq, s.D, masked, maskAt],
      groups: Math.ceil(Math.max(queries, masked) / size),
      binds: [...[dy!, o!, lse!, mask!].map(read), { operand: rows, write: true }],
    });
  }
  const first = [q!, k!, v!, k2!, v2!, dy!, rows].map(read);
  const second = [q!, k2!, v2!, k!, v!, dy!, rows].map(read);
  plan.launch('simplicial_dq', queries, 0, false, maskAt, [...first, plan.target(0)]);
  for (const wanted of [0, 1]) {
    plan.launch('simplicial_dkv', keys, wanted, false, maskAt, [...first, plan.target(1 + wanted)]);
    plan.launch('simplicial_dkv', keys, wanted, true, maskAt, [...second, plan.target(3 + wanted)]);
  }
  return plan.done();
}

/** What holds for every kernel: operands and scratch that bindings hold, indices of 32 bits, loops that end. */
function refusal(
  problem: SimplicialProblem,
  q: number,
  kernels: Parameters<typeof turnsOf>[1][],
  caps: Caps,
) {
  const s = sizesOf(problem, q);
  const over = overBinding([...problem.inputs, ...problem.outputs], caps);
  if (over) return over;
  const scratch = [
    s.B * (s.Hq * s.Tq * 8 + s.Tk * 4),
    ...(ragged(problem, s) ? problem.outputs.map(widenedBytes) : []),
  ];
  if (Math.max(...scratch) > caps.maxBindingBytes)
    return `its scratch is larger than a binding of ${caps.maxBindingBytes} bytes`;
  return overTurns(Math.max(...kernels.map((kernel) => turnsOf(s, kernel))), caps);
}

/** Turns of all loops of an invocation. */
function turnsOf(s: SimplicialSizes, kernel: 'forward' | 'dq' | 'dkv'): number {
  const quads = Math.ceil(s.D / 4) + 1;
  const [w1, w2] = [s.w1, s.w2].map((w) => (s.causal ? w : 2 * w - 1)) as [number, number];
  const combined = (s.score === 'trilinear' ? 1 : 4) * quads;
  const sweeps = kernel === 'forward' ? 2 : 3;
  const turns = (outer: number, inner: number) =>
    outer * ((Math.ceil(inner / COLUMNS) * sweeps + 2) * quads + 2 * combined + 1) + 6 * quads;
  if (kernel !== 'dkv') return turns(w2, w1);
  return (s.Hq / s.Hkv) * Math.max(turns(w1, w2), turns(w2, w1));
}

const nobarrier = (
  q: number,
  kernels: Parameters<typeof turnsOf>[1][],
  plan: (problem: SimplicialProblem, caps: Caps) => GpuPlan,
): GpuVariant<SimplicialAttrs> => ({
  name: 'nobarrier',
  admits: (problem, caps) => refusal(problem, q, kernels, caps),
  plan,
});

export const simplicialVariants = [nobarrier(0, ['forward'], planForward)];
export const simplicialBackwardVariants = [nobarrier(1, ['dq', 'dkv'], planBackward)];
