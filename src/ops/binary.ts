/** Element-wise maps of two tensors with NumPy broadcasting. The kernels know them by their place in the table. */
import { type DType, dtypeCode, floatDTypes, perWord } from '../tensor/dtype.js';
import { broadcastShapes, type Shape, spec } from '../tensor/shape.js';
import {
  type BackwardContext,
  type Callable,
  defineOp,
  type GpuVariant,
  type Operand,
  type Problem,
  type Sample,
  type Value,
} from './define.js';
import {
  broadcast,
  bytesOf,
  codes,
  contiguous,
  eachElement,
  packWalk,
  rows,
  sumTo,
  walkOf,
} from './elementwise.js';

type F = BackwardContext<object>['F'];
type Share = (g: Value, a: Value, b: Value, c: Value, F: F) => Value;

interface Binary {
  name: string;
  doc: string;
  f: (a: number, b: number) => number;
  /** The same on int32, wrapping modulo 2^32; comparisons need none of their own. */
  int?: (a: number, b: number) => number;
  /** The result is a bool. */
  compares?: boolean;
  domains?: readonly [readonly [number, number], readonly [number, number]];
  flops: number;
  /** dL/da and dL/db before they are summed to the operands' shapes, from g = dL/dc. */
  backward?: readonly [Share, Share];
  /** Tensors that the formula reads. */
  reads?: { inputs?: readonly number[]; outputs?: readonly number[] };
}

/** C's pow: ECMAScript's differs where the base is 1, or -1 with an infinite exponent. */
const power = (a: number, b: number) =>
  a === 1 || (a === -1 && Math.abs(b) === Number.POSITIVE_INFINITY) ? 1 : a ** b;

/** The gradient goes to the operand that was chosen; to `a` where they are equal. */
const toChosen = (comparison: 'greaterEqual' | 'lessEqual'): [Share, Share] => [
  (g, a, b, _c, F) => F.where!(F[comparison]!(a, b), g, 0),
  (g, a, b, _c, F) => F.where!(F[comparison]!(a, b), 0, g),
];

const table: readonly Binary[] = [
  {
    name: 'add',
    doc: 'a + b',
    f: (a, b) => a + b,
    int: (a, b) => (a + b) | 0,
    flops: 1,
    backward: [(g) => g, (g) => g],
  },
  {
    name: 'sub',
    doc: 'a - b',
    f: (a, b) => a - b,
    int: (a, b) => (a - b) | 0,
    flops: 1,
    backward: [(g) => g, (g, _a, _b, _c, F) => F.neg!(g)],
  },
  {
    name: 'mul',
    doc: 'a b',
    f: (a, b) => a * b,
    int: Math.imul,
    flops: 1,
    backward: [(g, _a, b, _c, F) => F.mul!(g, b), (g, a, _b, _c, F) => F.mul!(g, a)],
    reads: { inputs: [0, 1] },
  },
  {
    name: 'div',
    doc: 'a / b',
    f: (a, b) => a / b,
    domains: [
      [-3, 3],
      [0.25, 3],
    ],
    flops: 1,
    backward: [(g, _a, b, _c, F) => F.div!(g, b), (g, _a, b, c, F) => F.neg!(F.mul!(F.div!(g, b), c))],
    reads: { inputs: [1], outputs: [0] },
  },
  {
    name: 'pow',
    doc: 'a^b as C defines it',
    f: power,
    domains: [
      [0.1, 3],
      [-3, 3],
    ],
    flops: 40,
    backward: [
      (g, a, b, _c, F) => F.mul!(g, F.mul!(b, F.pow!(a, F.sub!(b, 1)))),
      (g, a, _b, c, F) => F.mul!(g, F.where!(F.equal!(a, 0), 0, F.mul!(c, F.log!(a)))),
    ],
    reads: { inputs: [0, 1], outputs: [0] },
  },
  {
    name: 'maximum',
    doc: 'max(a, b); NaN where either is',
    f: Math.max,
    int: Math.max,
    flops: 1,
    backward: toChosen('greaterEqual'),
    reads: { inputs: [0, 1] },
  },
  {
    name: 'minimum',
    doc: 'min(a, b); NaN where either is',
    f: Math.min,
    int: Math.min,
    flops: 1,
    backward: toChosen('lessEqual'),
    reads: { inputs: [0, 1] },
  },
  { name: 'equal', doc: 'a = b', f: (a, b) => +(a === b), compares: true, flops: 1 },
  { name: 'notEqual', doc: 'a ≠ b', f: (a, b) => +(a !== b), compares: true, flops: 1 },
  { name: 'less', doc: 'a < b', f: (a, b) => +(a < b), compares: true, flops: 1 },
  { name: 'lessEqual', doc: 'a ≤ b', f: (a, b) => +(a <= b), compares: true, flops: 1 },
  { name: 'greater', doc: 'a > b', f: (a, b) => +(a > b), compares: true, flops: 1 },
  { name: 'greaterEqual', doc: 'a ≥ b', f: (a, b) => +(a >= b), compares: true, flops: 1 },
];

const on = (a: Shape, b: Shape, more: Partial<Sample<object>> = {}): Sample<object> => ({
  shapes: [a, b],
  ...more,
});

/** Shapes that broadcast in every way that the kernels tell apart. */
const shapes: Sample<object>[] = [
  on([], []),
  on([0], [1]),
  on([3, 0], [3, 1]),
  on([1], [1]),
  on([37], [37]),
  on([129, 65], [129, 65]),
  on([5, 7, 3], []),
  on([], [131]),
  on([9, 67], [67]),
  on([67], [9, 67]),
  on([9, 67], [9, 1]),
  on([9, 1], [1, 67]),
  on([4, 1, 5, 3], [6, 1, 3]),
  on([2, 1, 3, 1, 2, 1, 3], [1, 2, 1, 2, 1, 3, 1]),
  // rows of whole 16-byte units
  on([9, 64], [64]),
  on([9, 1], [9, 48]),
  on([3, 1, 5, 80], [7, 1, 80]),
  on([2, 5, 1, 16], [5, 3, 1]),
  on([3, 4096], [4096]),
  on([70000, 3], [3], { heavy: true }),
  on([70000, 3], [70000, 1], { heavy: true }),
];
// 140 MB an operand: more than a binding of 128 MiB holds.
const huge = on([35_000_001], [35_000_001], { dtypes: ['float32'], heavy: true });
const two: readonly [number, number] = [2, 2];
const whole: readonly [number, number] = [-(2 ** 31), 2 ** 31 - 1];

/** Each operand's storage tells how many of its elements make 16 bytes. */
const constants =
  (code: number) =>
  ({ inputs: [a] }: Problem): number[] => [code, ...codes(a!)];

function binary(code: number): Callable<object, [a: Operand, b: Operand]> {
  const { name, doc, f, int, compares, domains, flops, backward, reads } = table[code]!;
  const dtypes: DType[] = int || compares ? [...floatDTypes, 'int32'] : [...floatDTypes];
  const samples = [...shapes];
  if (dtypes.includes('int32'))
    samples.push(on([333], [333], { domains: [whole, whole], dtypes: ['int32'] }));
  if (compares) samples.push(on([77], [77], { domains: [two, two] }));
  if (name === 'add') samples.push(huge);
  const gpu: GpuVariant<object>[] = [
    contiguous('binary', constants(code), ({ inputs: [a] }) => 4 * perWord(a!.dtype)),
    rows('binary_rows', constants(code), ({ inputs: [a] }) => 4 * perWord(a!.dtype)),
    broadcast('binary_broadcast', constants(code)),
  ];
  return defineOp<[a: Operand, b: Operand]>()({
    name,
    doc,
    inputs: domains
      ? [
          { name: 'a', domain: domains[0] },
          { name: 'b', domain: domains[1] },
        ]
      : ['a', 'b'],
    attrs: {},
    dtypes,
    autocast: 'widest',
    infer: ([a, b]) => [spec(broadcastShapes([a!.shape, b!.shape], name), compares ? 'bool' : a!.dtype)],
    reference([a, b], problem) {
      const out = new Float64Array(problem.outputs[0]!.size);
      const apply = int && problem.inputs[0]!.dtype === 'int32' ? int : f;
      eachElement(walkOf(problem), (i, [at, bt]) => {
        out[i] = apply(a![at!]!, b![bt!]!);
      });
      return [out];
    },
    cpu: (problem) => ({
      kernel: 'binary',
      attrs: [code, dtypeCode[problem.inputs[0]!.dtype], ...packWalk(walkOf(problem))],
    }),
    gpu,
    cost: (problem) => ({
      flops: flops * problem.outputs[0]!.size,
      bytes: bytesOf(problem),
      family: flops < 5 ? 'map' : 'special',
    }),
    backward:
      backward &&
      (({ grads: [g], needs, inputs: [a, b], outputs: [c], problem, F }) =>
        backward.map((share, i) =>
          needs[i] ? sumTo(share(g!, a!, b!, c!, F), problem.inputs[i]!.shape, F) : null,
        )),
    saves: reads ?? {},
    samples,
    invalid: [
      { shapes: [[2, 3], [2]], code: 'ATTN_SHAPE' },
      { shapes: [[4], [3]], code: 'ATTN_SHAPE' },
      { shapes: [[4], [4]], dtypes: ['bool'], code: 'ATTN_DTYPE' },
    ],
  });
}

const named = (name: string): Callable<object, [a: Operand, b: Operand]> =>
  binary(table.findIndex((b) => b.name === name));

export const add = named('add');
export const sub = named('sub');
export const mul = named('mul');
export const div = named('div');
export const pow = named('pow');
export const maximum = named('maximum');
export const minimum = named('minimum');
export const equal = named('equal');
export const notEqual = named('notEqual');
export const less = named('less');
export const lessEqual = named('lessEqual');
export const greater = named('greater');
export const greaterEqual = named('greaterEqual');
