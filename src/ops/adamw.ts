/** AdamW (Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019), all parameters in one launch. */
import type { Tensor } from '../tensor/tensor.js';
import { defineOp } from './define.js';
import { bytesOf } from './elementwise.js';
import { BLOCK, blocksPlan, COEFFICIENT, checkFlat, eachOf, FINITE, flat } from './flat.js';
import { mapGroup } from './launch.js';

const inputs = [
  flat.params,
  flat.grads,
  flat.mean('m'),
  flat.square('v'),
  flat.blocks,
  flat.groups,
  flat.steps,
  flat.scalars,
];
const updates = [0, 2, 3];

/**
 * A row of `groups`. What is near 1 or 0 comes in both forms, so that single precision keeps it: 1 - β, and -ln β,
 * of which 1 - βᵗ = -expm1(-t (-ln β)).
 */
export const adamwRow = (
  lr: number,
  weightDecay: number,
  eps: number,
  beta1: number,
  beta2: number,
): number[] => [lr, weightDecay, eps, beta2, 1 - beta1, 1 - beta2, -Math.log(beta1), -Math.log(beta2)];

/**
 * params [N], m [N] and v [N] change in place, except where `scalars` says that the gradient is not finite:
 *
 *   g = coefficient * grad; m += (1 - β₁)(g - m); v = β₂ v + (1 - β₂) g²
 *   p = p (1 - lr wd) - lr (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)
 *
 * t is the entry of `steps` of the element's block. Rows of `groups` are made by `adamwRow`.
 */
export const adamwStep = defineOp<
  [
    params: Tensor,
    grads: Tensor,
    m: Tensor,
    v: Tensor,
    blocks: Tensor,
    groups: Tensor,
    steps: Tensor,
    scalars: Tensor,
  ],
  void
>()({
  name: 'adamw_step',
  doc: 'p (1 - lr wd) - lr m̂ / (√v̂ + ε), in place, for all parameters',
  inputs,
  results: 0,
  updates,
  internal: true,
  attrs: {},
  dtypes: ['float32'],
  infer(given) {
    checkFlat('adamw_step', inputs, given);
    return [];
  },
  reference([params, grads, m, v, blocks, groups, steps, scalars]) {
    const next = [params!, m!, v!].map((x) => Float64Array.from(x)) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    if (scalars![FINITE] === 0) return next;
    eachOf(blocks!, groups!, (e, [lr, decay, eps, beta2, rest1, rest2, rate1, rate2], b) => {
      const t = steps![b]!;
      const g = grads![e]! * scalars![COEFFICIENT]!;
      const mean = m![e]! + rest1! * (g - m![e]!);
      const square = beta2! * v![e]! + rest2! * g * g;
      const denominator = Math.sqrt(square / -Math.expm1(-t * rate2!)) + eps!;
      next[0][e] = params![e]! * (1 - lr! * decay!) - (lr! * mean) / -Math.expm1(-t * rate1!) / denominator;
      next[1][e] = mean;
      next[2][e] = square;
    });
    return next;
  },
  cpu: ({ inputs: [p, , , , , groups] }) => ({
    kernel: 'adamw_step',
    attrs: [p!.size / BLOCK, groups!.shape[0]!],
  }),
  gpu: [
    {
      name: 'simple',
      admits: () => null,
      plan: (problem, caps) => blocksPlan('adamw_step', problem, caps, mapGroup(caps), updates),
    },
  ],
  cost: (problem) => ({
    flops: 16 * problem.inputs[0]!.size,
    bytes: bytesOf(problem) + 12 * problem.inputs[0]!.size,
    family: 'map',
  }),
  samples: [
    ...[64, 320, 0, 64 * 1030].map((n) => ({ shapes: shapesOf(n, 3) })),
    // Not finite: nothing changes.
    { shapes: shapesOf(192, 2), domains: [...inputs.slice(0, 7).map((i) => i.domain!), [0, 0] as const] },
    { shapes: shapesOf(64 * 70001, 1), heavy: true },
  ],
  invalid: [
    { shapes: shapesOf(64, 3).map((s, i) => (i === 0 ? [60] : s)), dtypes: dtypesOf(), code: 'ATTN_SHAPE' },
    { shapes: shapesOf(64, 3).map((s, i) => (i === 4 ? [2] : s)), dtypes: dtypesOf(), code: 'ATTN_SHAPE' },
    { shapes: shapesOf(64, 3).map((s, i) => (i === 5 ? [3, 7] : s)), dtypes: dtypesOf(), code: 'ATTN_SHAPE' },
    { shapes: shapesOf(64, 256), dtypes: dtypesOf(), code: 'ATTN_SHAPE' },
  ],
});

function shapesOf(n: number, groups: number) {
  return [[n], [n], [n], [n], [n / BLOCK], [groups, 8], [n / BLOCK], [4]];
}

function dtypesOf() {
  return inputs.map((i) => i.dtype!);
}
