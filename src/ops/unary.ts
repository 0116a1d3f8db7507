/** Element-wise maps of one tensor. One table says all about them; the kernels know them by their place in it. */
import { type DType, dtypeCode, floatDTypes, perWord } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';
import { type AnyActivation, activationTable } from './activations.js';
import { type BackwardContext, type Callable, defineOp, type Sample, type Value } from './define.js';
import { bytesOf, codes, contiguous } from './elementwise.js';
import { erf as erfOf } from './erf.js';

interface Unary {
  /** Name and formula. */
  name: string;
  doc: string;
  f: (x: number) => number;
  /** The same on int32 where the op takes it; results wrap modulo 2^32. */
  int?: (x: number) => number;
  /** Samples are drawn from here; `far` is a wider range for float32 and bfloat16. */
  domain?: readonly [number, number];
  far?: readonly [number, number];
  /** Flops an element; from 5 on it counts as a special function. */
  flops: number;
  /** dL/dx from g = dL/dy. */
  backward: (g: Value, x: Value, y: Value, F: BackwardContext<object>['F']) => Value;
  /** What the formula reads. */
  reads: 'x' | 'y' | 'xy' | '';
}

/** The gradient of what is an activation: an op of its own (activation-backward.ts). */
const activation = (name: AnyActivation): Pick<Unary, 'f' | 'flops' | 'backward' | 'reads'> => ({
  f: activationTable[name].f,
  flops: activationTable[name].flops,
  backward: (g, x, _y, F) => F.activationBackward!(g, x, { activation: name }),
  reads: 'x',
});

const table: readonly Unary[] = [
  {
    name: 'neg',
    doc: '-x',
    f: (x) => -x,
    int: (x) => -x | 0,
    flops: 1,
    backward: (g, _x, _y, F) => F.neg!(g),
    reads: '',
  },
  {
    name: 'abs',
    doc: '|x|',
    f: Math.abs,
    int: (x) => Math.abs(x) | 0,
    flops: 1,
    backward: (g, x, _y, F) => F.where!(F.greater!(x, 0), g, F.where!(F.less!(x, 0), F.neg!(g), 0)),
    reads: 'x',
  },
  {
    name: 'exp',
    doc: 'e^x',
    f: Math.exp,
    far: [-100, 80],
    flops: 8,
    backward: (g, _x, y, F) => F.mul!(g, y),
    reads: 'y',
  },
  {
    name: 'log',
    doc: 'ln x',
    f: Math.log,
    domain: [0.1, 10],
    far: [0, 1e6],
    flops: 8,
    backward: (g, x, _y, F) => F.div!(g, x),
    reads: 'x',
  },
  {
    name: 'sqrt',
    doc: '√x',
    f: Math.sqrt,
    domain: [0.1, 10],
    far: [0, 1e6],
    flops: 4,
    backward: (g, _x, y, F) => F.div!(F.mul!(g, 0.5), y),
    reads: 'y',
  },
  {
    name: 'rsqrt',
    doc: '1/√x',
    f: (x) => 1 / Math.sqrt(x),
    domain: [0.1, 10],
    far: [0.001, 1e6],
    flops: 5,
    backward: (g, _x, y, F) => F.mul!(F.mul!(g, -0.5), F.mul!(F.square!(y), y)),
    reads: 'y',
  },
  {
    name: 'square',
    doc: 'x²',
    f: (x) => x * x,
    int: (x) => Math.imul(x, x),
    flops: 1,
    backward: (g, x, _y, F) => F.mul!(F.mul!(g, 2), x),
    reads: 'x',
  },
  {
    name: 'sin',
    doc: 'sin x',
    f: Math.sin,
    far: [-1000, 1000],
    flops: 12,
    backward: (g, x, _y, F) => F.mul!(g, F.cos!(x)),
    reads: 'x',
  },
  {
    name: 'cos',
    doc: 'cos x',
    f: Math.cos,
    far: [-1000, 1000],
    flops: 12,
    backward: (g, x, _y, F) => F.neg!(F.mul!(g, F.sin!(x))),
    reads: 'x',
  },
  {
    name: 'tanh',
    doc: 'tanh x',
    far: [-200, 200],
    ...activation('tanh'),
  },
  {
    name: 'sigmoid',
    doc: '1 / (1 + e^-x)',
    far: [-200, 200],
    ...activation('sigmoid'),
  },
  {
    name: 'relu',
    doc: 'max(x, 0)',
    int: (x) => Math.max(x, 0),
    ...activation('relu'),
  },
  {
    name: 'gelu',
    doc: 'x Φ(x) = x/2 (1 + erf(x/√2))',
    far: [-100, 100],
    ...activation('gelu'),
  },
  {
    name: 'gelu_tanh',
    doc: 'x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))',
    far: [-100, 100],
    ...activation('gelu_tanh'),
  },
  {
    name: 'silu',
    doc: 'x sigmoid(x)',
    far: [-80, 80],
    ...activation('silu'),
  },
  {
    name: 'erf',
    doc: '2/√π ∫₀ˣ e^(-t²) dt',
    f: erfOf,
    far: [-100, 100],
    flops: 22,
    backward: (g, x, _y, F) => F.mul!(F.mul!(g, 2 / Math.sqrt(Math.PI)), F.exp!(F.neg!(F.square!(x)))),
    reads: 'x',
  },
  {
    name: 'sinh',
    doc: '(e^x - e^-x) / 2',
    f: Math.sinh,
    far: [-89, 89],
    flops: 12,
    // cosh x = |sinh x| + e^-|x|, without a square that overflows.
    backward: (g, x, y, F) => F.mul!(g, F.add!(F.abs!(y), F.exp!(F.neg!(F.abs!(x))))),
    reads: 'xy',
  },
  {
    name: 'asinh',
    doc: 'ln(x + √(x² + 1))',
    f: Math.asinh,
    far: [-1e6, 1e6],
    flops: 20,
    backward: (g, x, _y, F) => F.mul!(g, F.rsqrt!(F.add!(F.square!(x), 1))),
    reads: 'x',
  },
  {
    name: 'log_sigmoid',
    doc: '-ln(1 + e^-x)',
    f: (x) => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x))),
    far: [-200, 200],
    flops: 24,
    backward: (g, x, _y, F) => F.mul!(g, F.sigmoid!(F.neg!(x))),
    reads: 'x',
  },
  {
    name: 'elu_plus_one',
    doc: 'x + 1 above 0, else e^x: positive',
    f: (x) => (x > 0 ? x + 1 : Math.exp(x)),
    far: [-200, 200],
    flops: 9,
    backward: (g, _x, y, F) => F.mul!(g, F.minimum!(y, 1)),
    reads: 'y',
  },
];

const shapes: Sample<object>[] = [
  { shapes: [[]] },
  { shapes: [[0]] },
  { shapes: [[3, 0, 2]] },
  { shapes: [[1]] },
  { shapes: [[37]] },
  { shapes: [[5, 7, 3]] },
  { shapes: [[129, 65]] },
  { shapes: [[70000, 3]], heavy: true },
];
// 140 MB: more than a binding of 128 MiB holds.
const huge: Sample<object> = { shapes: [[35_000_001]], dtypes: ['float32'], heavy: true };

function unary(code: number): Callable<object, [x: Tensor]> {
  const { name, doc, f, int, domain, far, flops, backward, reads } = table[code]!;
  const dtypes: DType[] = int ? [...floatDTypes, 'int32'] : [...floatDTypes];
  const samples = [...shapes];
  if (far) samples.push({ shapes: [[333]], domains: [far], dtypes: ['float32', 'bfloat16'] });
  if (int) samples.push({ shapes: [[333]], domains: [[-(2 ** 31), 2 ** 31 - 1]], dtypes: ['int32'] });
  if (name === 'relu') samples.push(huge);
  return defineOp<[x: Tensor]>()({
    name,
    doc,
    inputs: [domain ? { name: 'x', domain } : 'x'],
    attrs: {},
    dtypes,
    infer: ([x]) => [x!],
    reference: ([x], { inputs }) => [x!.map(inputs[0]!.dtype === 'int32' ? int! : f)],
    cpu: ({ inputs: [x] }) => ({ kernel: 'unary', attrs: [code, dtypeCode[x!.dtype], x!.size] }),
    gpu: [
      contiguous(
        'unary',
        ({ inputs: [x] }) => [code, ...codes(x!)],
        ({ inputs: [x] }) => 4 * perWord(x!.dtype),
      ),
    ],
    cost: (problem) => ({
      flops: flops * problem.inputs[0]!.size,
      bytes: bytesOf(problem),
      family: flops < 5 ? 'map' : 'special',
    }),
    backward: ({ grads: [g], inputs: [x], outputs: [y], F }) => [backward(g!, x!, y!, F)],
    saves: { inputs: reads.includes('x') ? [0] : [], outputs: reads.includes('y') ? [0] : [] },
    samples,
    invalid: [{ shapes: [[2]], dtypes: ['bool'], code: 'ATTN_DTYPE' }],
  });
}

const named = (name: string) => unary(table.findIndex((u) => u.name === name));

export const neg = named('neg');
export const abs = named('abs');
export const exp = named('exp');
export const log = named('log');
export const sqrt = named('sqrt');
export const rsqrt = named('rsqrt');
export const square = named('square');
export const sin = named('sin');
export const cos = named('cos');
export const tanh = named('tanh');
export const sigmoid = named('sigmoid');
export const relu = named('relu');
export const gelu = named('gelu');
export const geluTanh = named('gelu_tanh');
export const silu = named('silu');
export const erf = named('erf');
export const sinh = named('sinh');
export const asinh = named('asinh');
export const logSigmoid = named('log_sigmoid');
export const eluPlusOne = named('elu_plus_one');
