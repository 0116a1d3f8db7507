/** Holographic attention on Vulkan: chunks beside each other, between them a scan over their sums. */
import type { Bind, Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { dtypeCode, perWord } from '../tensor/dtype.js';
import type { Spec } from '../tensor/shape.js';
import type { GpuVariant, Problem } from './contract.js';
import { given, type HoloAttrs, type HoloWalk, sizesOf } from './holo-attention.walk.js';
import { loneGroup, MOST_TURNS, overBinding, Scratch, widenedBytes } from './launch.js';

type HoloProblem = Problem<HoloAttrs>;

// Stages of shaders/holo_attention.comp and holo_attention_backward.comp.
const [TOTALS, CARRY, SCAN] = [0, 1, 2];

function admits({ inputs, outputs }: HoloProblem, w: HoloWalk, caps: Caps): string | null {
  if (Math.max(...[...inputs, ...outputs].map((s) => s.size)) >= 2 ** 32)
    return 'elements are counted in 32 bits';
  if (Math.max(...outputs.map(widenedBytes)) > caps.maxBindingBytes)
    return `in fp32 its results are larger than a binding of ${caps.maxBindingBytes} bytes`;
  if (w.chunks > MOST_TURNS && caps.type === 'cpu') return 'there are more chunks than software drivers run';
  return overBinding([...inputs, ...outputs], caps);
}

/** A shader's stages over a problem; `binds` gives those of each. */
function stages(
  shader: string,
  problem: HoloProblem,
  w: HoloWalk,
  caps: Caps,
  binds: (stage: number) => Bind[],
): Dispatch[] {
  const group = loneGroup(caps);
  const units = w.B * w.chunks * w.H * w.F;
  return [TOTALS, CARRY, SCAN].flatMap((stage): Dispatch[] => {
    const count = stage === CARRY ? w.B * w.H * w.S : units;
    if (count === 0) return [];
    return [
      {
        shader,
        spec: [
          group,
          dtypeCode[problem.inputs[0]!.dtype],
          stage!,
          w.R,
          ...[w.decay, w.keep, w.state].map(Number),
        ],
        push: [count, w.T, w.H, w.F, w.chunks],
        groups: Math.ceil(count / group),
        binds: binds(stage!),
      },
    ];
  });
}

/** Where the kernels, which write float32, put an output. */
const target = (problem: HoloProblem, scratch: Scratch, output: number): number => {
  const operand = problem.inputs.length + output;
  return perWord(problem.outputs[output]!.dtype) === 1 ? operand : scratch.widened(operand);
};

const productBytes = (w: HoloWalk) => w.B * w.chunks * w.H * w.F * 4;

const forwardWalk = ({ inputs: [qkv, ...some], attrs }: HoloProblem) => sizesOf(qkv!, attrs, some);

function planForward(problem: HoloProblem, caps: Caps): GpuPlan {
  const w = forwardWalk(problem);
  const n = problem.inputs.length;
  const scratch = new Scratch(problem);
  const products = scratch.add(productBytes(w));
  const o = target(problem, scratch, 0);
  const or = (operand: number, there: boolean): Bind => ({ operand: there ? operand : 0 });
  const dispatches = stages('holo_attention', problem, w, caps, (stage) => [
    { operand: 0 },
    or(1, w.decay),
    or(2, w.keep),
    or(3, w.state),
    { operand: n + 2, write: stage !== SCAN },
    { operand: products, write: stage === TOTALS },
    { operand: o, write: stage === SCAN },
    { operand: n + 1, write: stage === CARRY },
  ]);
  return { scratch: scratch.bytes, dispatches: [...dispatches, ...scratch.narrow(caps)] };
}

const backwardWalk = ({ inputs: [, qkv, , dstate, decay, keep], attrs }: HoloProblem) =>
  sizesOf(qkv!, attrs, [decay, keep, dstate]);

function planBackward(problem: HoloProblem, caps: Caps): GpuPlan {
  const w = backwardWalk(problem);
  const [, , starts, dstate, decay, keep] = problem.inputs;
  const n = problem.inputs.length;
  const scratch = new Scratch(problem);
  const [products, grads] = [scratch.add(productBytes(w)), scratch.add(starts!.bytes)];
  const dqkv = target(problem, scratch, 0);
  const or = (operand: number, s: Spec | undefined): Bind => ({ operand: given(s) ? operand : 0 });
  const dispatches = stages('holo_attention_backward', problem, w, caps, (stage) => [
    { operand: 0 },
    stage === CARRY ? or(3, dstate) : { operand: 1 },
    or(4, decay),
    or(5, keep),
    { operand: 2 },
    { operand: grads, write: stage !== SCAN },
    stage === SCAN ? { operand: dqkv, write: true } : { operand: products, write: stage === TOTALS },
    stage === CARRY || !w.decay
      ? { operand: n + 2, write: stage === CARRY }
      : { operand: n + 1, write: stage === SCAN },
  ]);
  return { scratch: scratch.bytes, dispatches: [...dispatches, ...scratch.narrow(caps)] };
}

const chunked = (
  walk: (problem: HoloProblem) => HoloWalk,
  plan: (problem: HoloProblem, caps: Caps) => GpuPlan,
): GpuVariant<HoloAttrs>[] => [
  { name: 'chunked', admits: (problem, caps) => admits(problem, walk(problem), caps), plan },
];

export const forwardVariants = chunked(forwardWalk, planForward);
export const backwardVariants = chunked(backwardWalk, planBackward);
