/**
 * Normalisation of the last axis: layer_norm, rms_norm, and both fused with the residual sum before them. Statistics
 * are float32. The CPU side is native/cpu/norm.cc; the gradients are norm.backward.ts.
 */
import { type DType, decode, dtypeCode, encode, floatDTypes, isFloat } from '../tensor/dtype.js';
import { type Shape, type Spec, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  type BackwardContext,
  defineOp,
  type InputSpec,
  type OpDefinition,
  type Problem,
  type Sample,
  type Value,
} from './define.js';
import { bytesOf } from './elementwise.js';
import { normVariants } from './norm.gpu.js';
import {
  checkNorm,
  checkRows,
  checkShapes,
  type Kind,
  type NormAttrs,
  parameter,
  partsOf,
  rowsOf,
} from './norm.walk.js';

export type { NormAttrs };

function infer(kind: Kind, inputs: readonly Spec[], attrs: NormAttrs): Spec[] {
  const { x, residual, weight, bias } = partsOf(kind, inputs);
  checkRows(kind.name, x);
  checkNorm(kind.name, attrs);
  checkShapes(kind.name, x, { residual }, x.shape, 'both are added element by element');
  checkShapes(kind.name, x, { weight, bias }, [rowsOf(x).n], 'one number for each element of the last axis');
  const statistic = spec(x.shape.slice(0, -1), 'float32');
  return [
    spec(x.shape, attrs.outDtype || x.dtype),
    ...(residual ? [spec(x.shape, residual.dtype)] : []),
    ...(kind.centred ? [statistic] : []),
    statistic,
  ];
}

/** As values come back that were stored in a dtype of 16 bits. */
const stored = (dtype: DType, values: Float64Array): Float64Array =>
  isFloat(dtype) && dtype !== 'float32' ? decode(dtype, encode(dtype, values)) : values;

function reference(kind: Kind, inputs: readonly Float64Array[], problem: Problem<NormAttrs>): Float64Array[] {
  const { x: given, residual, weight, bias } = partsOf(kind, inputs);
  const { rows, n } = rowsOf(problem.inputs[0]!);
  const x = residual
    ? stored(
        problem.outputs[1]!.dtype,
        given.map((v, i) => v + residual[i]!),
      )
    : given;
  const y = new Float64Array(x.length);
  const mean = new Float64Array(rows);
  const rstd = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    const row = x.subarray(r * n, (r + 1) * n);
    let variance = 0;
    if (kind.centred) for (let i = 0; i < n; i++) mean[r]! += row[i]! / n;
    for (let i = 0; i < n; i++) variance += (row[i]! - mean[r]!) ** 2 / n;
    rstd[r] = 1 / Math.sqrt(variance + problem.attrs.eps);
    for (let i = 0; i < n; i++)
      y[r * n + i] = (row[i]! - mean[r]!) * rstd[r]! * (weight?.[i] ?? 1) + (bias?.[i] ?? 0);
  }
  return [y, ...(residual ? [x] : []), ...(kind.centred ? [mean] : []), rstd];
}

/**
 * The gradient op on what was normalised. What is known already of its gradient, of the residual sum or pending, is
 * added in the same pass where there is a weight for the places of the arguments, and by `add` where there is none.
 */
function backward(
  kind: Kind,
  { grads, needs, pending, inputs, outputs, problem, F }: BackwardContext<NormAttrs>,
) {
  const dy = grads[0];
  const known = kind.residual ? grads[1] : pending[0];
  const weight = partsOf(kind, inputs).weight;
  const first = kind.residual ? 2 : 1; // the weight's place
  const wantsX = kind.residual ? needs[0]! || needs[1]! : needs[0]!;
  const gradients: (Value | null)[] = problem.inputs.map(() => null);
  let dx: Value | undefined = wantsX ? known : undefined;
  if (dy) {
    const x = kind.residual ? outputs[1] : inputs[0];
    const statistics = outputs.slice(kind.residual ? 2 : 1);
    const fused = wantsX && weight && known ? [known] : [];
    const bias = needs[first + 1] ? problem.inputs[first + 1]!.dtype : '';
    const attrs = { dx: wantsX, dw: needs[first] ?? false, ...(kind.centred ? { db: bias } : {}) };
    const op = kind.centred ? F.layerNormBackward! : F.rmsNormBackward!;
    const made = op(dy, x, ...statistics, ...(weight ? [weight] : []), ...fused, attrs) as unknown as Value[];
    if (wantsX) dx = known && fused.length === 0 ? F.add!(made[0]!, known) : made[0]!;
    if (needs[first]) gradients[first] = made[1]!;
    if (needs[first + 1]) gradients[first + 1] = made[2]!;
  }
  for (let i = 0; i < first; i++)
    if (needs[i] && dx) {
      const { dtype } = problem.inputs[i]!;
      gradients[i] = dx.dtype === dtype ? dx : F.cast!(dx, { dtype });
    }
  return gradients;
}

const samplesOf = ({ residual, centred }: Kind): Sample<NormAttrs>[] => {
  /** The shapes of a call's operands, with `parameters` of weight and bias. */
  const call = (x: Shape, parameters = centred ? 2 : 1): Shape[] => [
    x,
    ...(residual ? [x] : []),
    ...Array.from({ length: Math.min(parameters, centred ? 2 : 1) }, () => x.slice(-1)),
  ];
  const samples: Sample<NormAttrs>[] = [
    { shapes: call([33, 65]) },
    { shapes: call([33, 65], 0) },
    { shapes: call([4, 5, 64], 1) },
    { shapes: call([7]) },
    { shapes: call([5, 1]) },
    { shapes: call([0, 4]) },
    { shapes: call([4, 0]) },
    { shapes: call([2, 3, 8]), attrs: { eps: 0.5 } },
    { shapes: call([9, 34]), attrs: { outDtype: 'bfloat16' } },
    { shapes: call([9, 33]), attrs: { outDtype: 'float16' } },
    { shapes: call([9, 32]), attrs: { outDtype: 'float32' } },
    { shapes: call([64, 128]), attrs: { outDtype: 'bfloat16' } },
    { shapes: call([64, 256]) },
    { shapes: call([9, 1025]), domains: [[40, 60]] },
    { shapes: call([2, 9000]) },
    // Rows of 3 now and then lie so close together that the rounding of x itself shows.
    { shapes: call([70000, 7]), heavy: true },
  ];
  const halves: readonly DType[] = ['bfloat16'];
  if (residual)
    samples.push(
      { shapes: call([17, 48]), dtypes: halves, inputDTypes: [undefined, 'float32'] },
      { shapes: call([17, 33]), dtypes: halves, inputDTypes: [undefined, 'float32', 'bfloat16'] },
      { shapes: call([17, 33]), dtypes: ['float32'], inputDTypes: [undefined, 'bfloat16'] },
    );
  else
    samples.push(
      { shapes: call([17, 48]), dtypes: halves, inputDTypes: [undefined, 'bfloat16', 'bfloat16'] },
      { shapes: call([17, 33]), dtypes: ['float32'], inputDTypes: [undefined, 'bfloat16', 'float16'] },
    );
  // The four share their kernels.
  if (centred && !residual)
    samples.push(
      { shapes: call([70000, 4]), dtypes: ['bfloat16'], heavy: true },
      { shapes: call([3, 70001]), heavy: true },
      // More than a binding of 128 MiB holds.
      { shapes: call([1100, 32768]), dtypes: ['float32'], heavy: true },
    );
  return samples;
};

const norm = <Args extends unknown[], R = Tensor>(
  kind: Kind,
  doc: string,
  eps: number,
  more: Partial<OpDefinition<NormAttrs>>,
) => {
  const parameters: InputSpec[] = [parameter('weight', [0.5, 1.5])];
  if (kind.centred) parameters.push(parameter('bias', [-1, 1]));
  const code = (s: Spec | undefined) => (s ? dtypeCode[s.dtype] : -1);
  return defineOp<Args, R>()<NormAttrs>({
    name: kind.name,
    doc,
    inputs: ['x', ...(kind.residual ? [{ name: 'residual', dtypes: floatDTypes }] : []), ...parameters],
    optional: parameters.length,
    results: kind.residual ? 2 : 1,
    attrs: { eps, outDtype: '' },
    dtypes: floatDTypes,
    infer: (inputs, attrs) => infer(kind, inputs, attrs),
    reference: (inputs, problem) => reference(kind, inputs, problem),
    cpu({ inputs, outputs, attrs }) {
      const { x, residual, weight, bias } = partsOf(kind, inputs);
      const { rows, n } = rowsOf(x);
      const dtypes = [code(x), code(outputs[0]), code(residual), code(weight), code(bias)];
      return { kernel: 'norm', attrs: [kind.centred ? 1 : 0, ...dtypes, rows, n, attrs.eps] };
    },
    gpu: normVariants(kind),
    cost: (problem) => ({ flops: 8 * problem.outputs[0]!.size, bytes: bytesOf(problem), family: 'reduce' }),
    backward: (context) => backward(kind, context),
    samples: samplesOf(kind),
    ...more,
  });
};

const wrong = [
  { shapes: [[]], code: 'ATTN_SHAPE' },
  { shapes: [[2, 3], [2]], code: 'ATTN_SHAPE' },
  {
    shapes: [
      [2, 3],
      [1, 3],
    ],
    code: 'ATTN_SHAPE',
  },
  { shapes: [[2, 3]], attrs: { eps: -1 }, code: 'ATTN_ARGUMENT' },
  { shapes: [[2, 3]], attrs: { eps: Number.NaN }, code: 'ATTN_ARGUMENT' },
  { shapes: [[2, 3]], attrs: { outDtype: 'int32' as DType }, code: 'ATTN_ARGUMENT' },
  { shapes: [[2, 3], [3]], dtypes: ['float32', 'int32'] as DType[], code: 'ATTN_DTYPE' },
];
const wrongSum = [
  { shapes: [[], []], code: 'ATTN_SHAPE' },
  { shapes: [[2, 3], [3]], code: 'ATTN_SHAPE' },
  { shapes: [[2, 3], [2, 3], [2]], code: 'ATTN_SHAPE' },
  {
    shapes: [
      [2, 3],
      [2, 3],
    ],
    attrs: { eps: -1 },
    code: 'ATTN_ARGUMENT',
  },
  {
    shapes: [
      [2, 3],
      [2, 3],
    ],
    dtypes: ['float32', 'int32'] as DType[],
    code: 'ATTN_DTYPE',
  },
];

/** Last axis to mean 0 and variance 1 (the biased one, plus eps), then weight and bias. */
export const layerNorm = norm<[x: Tensor, weight?: Tensor, bias?: Tensor]>(
  { name: 'layer_norm', centred: true, residual: false },
  '(x - mean) / √(variance + eps) weight + bias along the last axis',
  1e-5,
  {
    accumulates: [0],
    saves: { inputs: [0, 1, 2], outputs: [1, 2] },
    recompute: {
      can: () => true,
      run: ({ inputs, attrs, F }) => F.layerNorm!(...inputs, attrs),
    },
    invalid: [...wrong, { shapes: [[2, 3], [3], [2]], code: 'ATTN_SHAPE' }],
  },
);

/** Last axis to mean square 1 (plus eps), then weight. */
export const rmsNorm = norm<[x: Tensor, weight?: Tensor]>(
  { name: 'rms_norm', centred: false, residual: false },
  'x / √(mean(x²) + eps) weight along the last axis',
  1e-6,
  {
    accumulates: [0],
    saves: { inputs: [0, 1], outputs: [1] },
    recompute: { can: () => true, run: ({ inputs, attrs, F }) => F.rmsNorm!(...inputs, attrs) },
    invalid: wrong,
  },
);

/** [layer_norm(sum), sum], sum = x + residual in the residual's dtype. */
export const addLayerNorm = norm<
  [x: Tensor, residual: Tensor, weight?: Tensor, bias?: Tensor],
  [y: Tensor, sum: Tensor]
>(
  { name: 'add_layer_norm', centred: true, residual: true },
  '[layer_norm(sum), sum] of sum = x + residual',
  1e-5,
  { saves: { inputs: [2], outputs: [1, 2, 3] }, invalid: wrongSum },
);

/** [rms_norm(sum), sum], sum = x + residual in the residual's dtype. */
export const addRmsNorm = norm<[x: Tensor, residual: Tensor, weight?: Tensor], [y: Tensor, sum: Tensor]>(
  { name: 'add_rms_norm', centred: false, residual: true },
  '[rms_norm(sum), sum] of sum = x + residual',
  1e-6,
  { saves: { inputs: [2], outputs: [1, 2] }, invalid: wrongSum },
);
