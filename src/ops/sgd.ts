/** Stochastic gradient descent with momentum, all parameters in one launch. */
import type { Tensor } from '../tensor/tensor.js';
import { defineOp } from './define.js';
import { bytesOf } from './elementwise.js';
import { BLOCK, blocksPlan, COEFFICIENT, checkFlat, eachOf, FINITE, flat } from './flat.js';
import { mapGroup } from './launch.js';

const inputs = [
  flat.params,
  flat.grads,
  flat.mean('momentum'),
  flat.blocks,
  flat.groups,
  flat.steps,
  flat.scalars,
];
const updates = [0, 2];

/** A row of `groups`. */
export const sgdRow = (
  lr: number,
  weightDecay: number,
  momentum: number,
  dampening: number,
  nesterov: boolean,
): number[] => [lr, weightDecay, momentum, 1 - dampening, nesterov ? 1 : 0, 0, 0, 0];

/**
 * params [N] and momentum [N] change in place, except where `scalars` says that the gradient is not finite:
 *
 *   g = coefficient * grad + wd p; b = t = 1 ? g : μ b + (1 - dampening) g; p -= lr (nesterov ? g + μ b : b)
 *
 * t is the entry of `steps` of the element's block. Rows of `groups` are made by `sgdRow`.
 */
export const sgdStep = defineOp<
  [
    params: Tensor,
    grads: Tensor,
    momentum: Tensor,
    blocks: Tensor,
    groups: Tensor,
    steps: Tensor,
    scalars: Tensor,
  ],
  void
>()({
  name: 'sgd_step',
  doc: 'p - lr b, b = μ b + g, in place, for all parameters',
  inputs,
  results: 0,
  updates,
  internal: true,
  attrs: {},
  dtypes: ['float32'],
  infer(given) {
    checkFlat('sgd_step', inputs, given);
    return [];
  },
  reference([params, grads, momentum, blocks, groups, steps, scalars]) {
    const next = [params!, momentum!].map((x) => Float64Array.from(x)) as [Float64Array, Float64Array];
    if (scalars![FINITE] === 0) return next;
    eachOf(blocks!, groups!, (e, [lr, decay, mu, share, nesterov], b) => {
      const p = params![e]!;
      const g = grads![e]! * scalars![COEFFICIENT]! + decay! * p;
      const buffer = steps![b] === 1 ? g : mu! * momentum![e]! + share! * g;
      next[0][e] = p - lr! * (nesterov !== 0 ? g + mu! * buffer : buffer);
      next[1][e] = buffer;
    });
    return next;
  },
  cpu: ({ inputs: [p, , , , groups] }) => ({
    kernel: 'sgd_step',
    attrs: [p!.size / BLOCK, groups!.shape[0]!],
  }),
  gpu: [
    {
      name: 'simple',
      admits: () => null,
      plan: (problem, caps) => blocksPlan('sgd_step', problem, caps, mapGroup(caps), updates),
    },
  ],
  cost: (problem) => ({
    flops: 8 * problem.inputs[0]!.size,
    bytes: bytesOf(problem) + 8 * problem.inputs[0]!.size,
    family: 'map',
  }),
  samples: [
    ...[64, 320, 0, 64 * 1030].map((n) => ({ shapes: shapesOf(n, 3) })),
    // The first step; no Nesterov; not finite.
    { shapes: shapesOf(320, 2), domains: domainsOf({ 5: [1, 1] }) },
    { shapes: shapesOf(320, 2), domains: domainsOf({ 4: [0, 0] }) },
    { shapes: shapesOf(192, 2), domains: domainsOf({ 6: [0, 0] }) },
    { shapes: shapesOf(64 * 70001, 1), heavy: true },
  ],
  invalid: [
    { shapes: shapesOf(64, 3).map((s, i) => (i === 2 ? [128] : s)), dtypes: dtypesOf(), code: 'ATTN_SHAPE' },
    { shapes: shapesOf(64, 3).map((s, i) => (i === 6 ? [3] : s)), dtypes: dtypesOf(), code: 'ATTN_SHAPE' },
  ],
});

function shapesOf(n: number, groups: number) {
  return [[n], [n], [n], [n / BLOCK], [groups, 8], [n / BLOCK], [4]];
}

function domainsOf(other: Record<number, readonly [number, number]>) {
  return inputs.map((input, i) => other[i] ?? input.domain!);
}

function dtypesOf() {
  return inputs.map((i) => i.dtype!);
}
