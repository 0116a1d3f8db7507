/**
 * The element-wise parts of Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024); the
 * Newton-Schulz iteration between them is matrix products (src/optim/muon.ts).
 */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeCode, floatBits, floatDTypes } from '../tensor/dtype.js';
import { show, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp } from './define.js';
import { bytesOf } from './elementwise.js';
import { BLOCK, blocksPlan, COEFFICIENT, COLUMNS, checkFlat, eachOf, FINITE, flat } from './flat.js';
import { mapGroup, split } from './launch.js';

const inputs = [flat.grads, flat.mean('momentum'), flat.blocks, flat.groups, flat.scalars];

/** A row of `groups`. */
export const muonRow = (lr: number, weightDecay: number, momentum: number, nesterov: boolean): number[] => [
  lr,
  weightDecay,
  momentum,
  1 - momentum,
  nesterov ? 1 : 0,
  0,
  0,
  0,
];

/**
 * M = μ M + (1 - μ) g in place, and the direction of the step, U = (1 - μ) g + μ M (Nesterov) or M: [N], 0 where a
 * block has no group. Where `scalars` says that the gradient is not finite, M stays and U is 0.
 */
export const muonMomentumStep = defineOp<
  [grads: Tensor, momentum: Tensor, blocks: Tensor, groups: Tensor, scalars: Tensor]
>()({
  name: 'muon_momentum_step',
  doc: 'M = μ M + (1 - μ) g in place; U = (1 - μ) g + μ M',
  inputs,
  updates: [1],
  internal: true,
  attrs: {},
  dtypes: ['float32'],
  infer(given) {
    checkFlat('muon_momentum_step', inputs, given);
    return [given[0]!];
  },
  reference([grads, momentum, blocks, groups, scalars]) {
    const direction = new Float64Array(grads!.length);
    const next = Float64Array.from(momentum!);
    if (scalars![FINITE] === 0) return [direction, next];
    eachOf(blocks!, groups!, (e, [, , mu, rest, nesterov]) => {
      const g = grads![e]! * scalars![COEFFICIENT]!;
      const m = mu! * momentum![e]! + rest! * g;
      next[e] = m;
      direction[e] = nesterov !== 0 ? rest! * g + mu! * m : m;
    });
    return [direction, next];
  },
  cpu: ({ inputs: [g, , , groups] }) => ({
    kernel: 'muon_momentum_step',
    attrs: [g!.size / BLOCK, groups!.shape[0]!],
  }),
  gpu: [
    {
      name: 'simple',
      admits: () => null,
      plan: (problem, caps) => blocksPlan('muon_momentum_step', problem, caps, mapGroup(caps), [1]),
    },
  ],
  cost: (problem) => ({
    flops: 6 * problem.inputs[0]!.size,
    bytes: bytesOf(problem) + 4 * problem.inputs[0]!.size,
    family: 'map',
  }),
  samples: [
    ...[64, 320, 0, 64 * 1030].map((n) => ({ shapes: shapesOf(n, 3) })),
    { shapes: shapesOf(320, 2), domains: domainsOf({ 3: [0, 0] }) },
    { shapes: shapesOf(192, 2), domains: domainsOf({ 4: [0, 0] }) },
    { shapes: shapesOf(64 * 70001, 1), heavy: true },
  ],
  invalid: [
    {
      shapes: shapesOf(64, 3).map((s, i) => (i === 1 ? [128] : s)),
      dtypes: inputs.map((i) => i.dtype!),
      code: 'ATTN_SHAPE',
    },
  ],
});

function shapesOf(n: number, groups: number) {
  return [[n], [n], [n / BLOCK], [groups, 8], [4]];
}

function domainsOf(other: Record<number, readonly [number, number]>) {
  return inputs.map((input, i) => other[i] ?? input.domain!);
}

/** p = p (1 - lr wd) - lr x in place, lr and wd from row `group` of `groups`; nothing where not finite. */
export const muonApplyStep = defineOp<[params: Tensor, x: Tensor, groups: Tensor, scalars: Tensor], void>()({
  name: 'muon_apply_step',
  doc: 'p (1 - lr wd) - lr x, in place',
  inputs: [flat.params, { name: 'x', dtypes: floatDTypes, domain: [-1, 1] }, flat.groups, flat.scalars],
  results: 0,
  updates: [0],
  internal: true,
  attrs: { group: 0 },
  dtypes: ['float32'],
  infer([params, x, groups, scalars], { group }) {
    const op = 'muon_apply_step';
    const given = `params ${show(params!.shape)}, x ${show(x!.shape)}, groups ${show(groups!.shape)}, scalars ${show(scalars!.shape)}`;
    if (params!.size !== x!.size)
      throw new ShapeError(`params and x differ: ${given}`, { op, hint: 'both have as many elements' });
    if (groups!.rank !== 2 || groups!.shape[1] !== COLUMNS || scalars!.size !== 4)
      throw new ShapeError(`the tables do not fit: ${given}`, {
        op,
        hint: `groups is [G, ${COLUMNS}], scalars [4]`,
      });
    if (!Number.isInteger(group) || group < 0 || group >= groups!.shape[0]!)
      throw new ArgumentError(`group ${group} of ${groups!.shape[0]} groups`, {
        op,
        hint: 'group is a row of groups',
      });
    return [];
  },
  reference([params, x, groups, scalars], { attrs: { group } }) {
    if (scalars![FINITE] === 0) return [Float64Array.from(params!)];
    const [lr, decay] = groups!.subarray(group * COLUMNS);
    return [params!.map((p, i) => p * (1 - lr! * decay!) - lr! * x![i]!)];
  },
  cpu: ({ inputs: [p, x], attrs: { group } }) => ({
    kernel: 'muon_apply_step',
    attrs: [dtypeCode[x!.dtype], p!.size, group],
  }),
  gpu: [
    {
      name: 'simple',
      admits: () => null,
      plan({ inputs: [p, x, groups, scalars], attrs: { group } }, caps) {
        const size = mapGroup(caps);
        return {
          dispatches: split(
            [
              { spec: p!, moves: 1 },
              { spec: x!, moves: 1 },
              { spec: groups!, moves: 0 },
              { spec: scalars!, moves: 0 },
            ],
            p!.size,
            caps,
            ({ count }, binds) => ({
              shader: 'muon_apply_step',
              spec: [size, dtypeCode[x!.dtype]],
              push: [count, group],
              groups: Math.ceil(count / (size * 4)),
              binds: binds.map((bind, i) => ({ ...bind, write: i === 0 })),
            }),
          ),
        };
      },
    },
  ],
  cost: (problem) => ({
    flops: 4 * problem.inputs[0]!.size,
    bytes: bytesOf(problem) + 4 * problem.inputs[0]!.size,
    family: 'map',
  }),
  samples: [
    ...floatDTypes.map((dtype) => ({
      shapes: [[3, 5, 7], [3, 5, 7], [2, 8], [4]],
      attrs: { group: 1 },
      inputDTypes: [undefined, dtype],
    })),
    ...[0, 1, 4096, 70001].map((n) => ({ shapes: [[n], [n], [1, 8], [4]], heavy: n > 65535 })),
    {
      shapes: [[33], [33], [1, 8], [4]],
      domains: [
        [-1, 1],
        [-1, 1],
        [0, 1],
        [0, 0],
      ] as const,
    },
  ],
  invalid: [
    { shapes: [[3], [4], [1, 8], [4]], code: 'ATTN_SHAPE' },
    { shapes: [[3], [3], [1, 7], [4]], code: 'ATTN_SHAPE' },
    { shapes: [[3], [3], [1, 8], [4]], attrs: { group: 1 }, code: 'ATTN_ARGUMENT' },
  ],
});

/** a x + b y, the polynomials of Newton-Schulz without a pass for each term. */
export const axpbyStep = defineOp<[x: Tensor, y: Tensor]>()({
  name: 'axpby_step',
  doc: 'a x + b y',
  inputs: ['x', 'y'],
  internal: true,
  attrs: { a: 1, b: 1 },
  dtypes: floatDTypes,
  infer([x, y], { a, b }) {
    if (x !== y)
      throw new ShapeError(`x ${show(x!.shape)} and y ${show(y!.shape)} differ`, {
        op: 'axpby_step',
        hint: 'nothing is stretched here',
      });
    if (!Number.isFinite(a) || !Number.isFinite(b))
      throw new ArgumentError(`a is ${a} and b ${b}`, { op: 'axpby_step', hint: 'both are finite' });
    return [spec(x!.shape, x!.dtype)];
  },
  reference: ([x, y], { attrs: { a, b } }) => [x!.map((v, i) => a * v + b * y![i]!)],
  cpu: ({ inputs: [x], attrs: { a, b } }) => ({
    kernel: 'axpby_step',
    attrs: [dtypeCode[x!.dtype], x!.size, a, b],
  }),
  gpu: [
    {
      name: 'simple',
      admits: () => null,
      plan({ inputs: [x], attrs: { a, b } }, caps) {
        const size = mapGroup(caps);
        const perUnit = 4; // elements, 8 or 16 bytes
        return {
          dispatches: split(
            [0, 1, 2].map(() => ({ spec: x!, moves: 1 })),
            x!.size,
            caps,
            ({ count }, binds) => ({
              shader: 'axpby_step',
              spec: [size, dtypeCode[x!.dtype]],
              push: [Math.ceil(count / perUnit), floatBits(a), floatBits(b)],
              groups: Math.ceil(count / perUnit / size),
              binds,
            }),
          ),
        };
      },
    },
  ],
  cost: (problem) => ({ flops: 3 * problem.inputs[0]!.size, bytes: bytesOf(problem), family: 'map' }),
  samples: [
    {
      shapes: [
        [33, 65],
        [33, 65],
      ],
      attrs: { a: 3.4445, b: -4.775 },
    },
    { shapes: [[0], [0]] },
    { shapes: [[1], [1]] },
    {
      shapes: [
        [2, 3, 64],
        [2, 3, 64],
      ],
      attrs: { b: 0 },
    },
    { shapes: [[70001], [70001]], attrs: { a: -1 }, heavy: true },
  ],
  invalid: [
    { shapes: [[3], [4]], code: 'ATTN_SHAPE' },
    { shapes: [[3], [3]], attrs: { a: Number.NaN }, code: 'ATTN_ARGUMENT' },
  ],
});
