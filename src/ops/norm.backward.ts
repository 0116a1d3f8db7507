/**
 * Gradients of the norms: with u = (x - mean) rstd and g = dy weight, dx = rstd (g - mean(g) - u mean(g u)) + dres, dw
 * and db sums over the rows of dy u and dy. The CPU side is native/cpu/norm_backward.cc.
 */
import { type DType, dtypeCode, floatDTypes } from '../tensor/dtype.js';
import { type Shape, type Spec, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type Problem, type Sample } from './define.js';
import { bytesOf } from './elementwise.js';
import { normBackwardVariants } from './norm.backward.gpu.js';
import { backwardParts, type NormBackwardAttrs } from './norm.backward.walk.js';
import { checkRows, checkShapes, parameter, rowsOf } from './norm.walk.js';

function infer(op: string, centred: boolean, inputs: readonly Spec[], attrs: NormBackwardAttrs): Spec[] {
  const { dy, x, mean, rstd, weight, dres } = backwardParts(centred, inputs);
  checkRows(op, x);
  checkShapes(op, x, { dy, dres }, x.shape, 'gradients have the shape of x');
  checkShapes(op, x, { mean, rstd }, x.shape.slice(0, -1), 'one for each row');
  checkShapes(op, x, { weight }, x.shape.slice(-1), 'one number for each element of the last axis');
  const columns = x.shape.slice(-1);
  return [
    spec(attrs.dx ? x.shape : [0], x.dtype),
    spec(attrs.dw && weight ? columns : [0], weight?.dtype ?? 'float32'),
    ...(centred ? [spec(attrs.db ? columns : [0], attrs.db || 'float32')] : []),
  ];
}

function reference(
  centred: boolean,
  inputs: readonly Float64Array[],
  { inputs: specs, outputs }: Problem<NormBackwardAttrs>,
): Float64Array[] {
  const { dy, x, mean, rstd, weight, dres } = backwardParts(centred, inputs);
  const { rows, n } = rowsOf(specs[1]!);
  const [dx, dw, db] = outputs.map((s) => new Float64Array(s.size)) as [
    Float64Array,
    Float64Array,
    Float64Array?,
  ];
  const [u, g] = [new Float64Array(n), new Float64Array(n)];
  for (let r = 0; r < rows; r++) {
    const first = r * n;
    let gMean = 0;
    let uMean = 0;
    for (let i = 0; i < n; i++) {
      u[i] = (x[first + i]! - (mean?.[r] ?? 0)) * rstd[r]!;
      g[i] = dy[first + i]! * (weight?.[i] ?? 1);
      if (centred) gMean += g[i]! / n;
      uMean += (g[i]! * u[i]!) / n;
    }
    if (dx.length > 0)
      for (let i = 0; i < n; i++)
        dx[first + i] = rstd[r]! * (g[i]! - gMean - u[i]! * uMean) + (dres?.[first + i] ?? 0);
    for (let i = 0; i < dw.length; i++) dw[i]! += dy[first + i]! * u[i]!;
    if (db) for (let i = 0; i < db.length; i++) db[i]! += dy[first + i]!;
  }
  return [dx, dw, ...(db ? [db] : [])];
}

const samplesOf = (centred: boolean): Sample<NormBackwardAttrs>[] => {
  /** dy, x, the statistics, and up to `further` of weight and dres. */
  const call = (x: Shape, further = 2): Shape[] => {
    const row = x.slice(0, -1);
    return [x, x, ...(centred ? [row] : []), row, ...[x.slice(-1), x].slice(0, further)];
  };
  const db = (dtype: DType | '') => (centred ? { db: dtype } : {});
  const before = centred ? [undefined, undefined, undefined, undefined] : [undefined, undefined, undefined];
  // More than a binding of 128 MiB holds.
  const large: Sample<NormBackwardAttrs> = {
    shapes: call([1100, 32768], 1),
    attrs: db('float32'),
    dtypes: ['float32'],
    heavy: true,
  };
  return [
    { shapes: call([33, 65]), attrs: db('float32') },
    { shapes: call([33, 65], 0) },
    { shapes: call([33, 64], 1), attrs: db('float32') },
    { shapes: call([33, 64], 1), attrs: { dx: false, ...db('float32') } },
    { shapes: call([33, 64], 2), attrs: { dw: false } },
    { shapes: call([7]), attrs: db('float32') },
    { shapes: call([5, 1]), attrs: db('float32') },
    { shapes: call([0, 4]), attrs: db('float32') },
    { shapes: call([4, 0]), attrs: db('float32') },
    { shapes: call([2, 3, 8]), attrs: db('bfloat16'), inputDTypes: [...before, 'bfloat16'] },
    { shapes: call([9, 33]), attrs: db('float16'), inputDTypes: ['bfloat16', ...before.slice(1), 'float16'] },
    { shapes: call([16, 36]), attrs: db('float32'), inputDTypes: ['bfloat16'], dtypes: ['float32'] },
    { shapes: call([64, 128]), attrs: db('float32') },
    { shapes: call([300, 256]), attrs: db('float32') },
    { shapes: call([9, 1025], 1), attrs: db('float32') },
    { shapes: call([2, 9000]), attrs: db('float32') },
    { shapes: call([70000, 3]), attrs: db('float32'), heavy: true },
    { shapes: call([3, 70001], 1), attrs: db('float32'), heavy: true },
    ...(centred ? [large] : []),
  ];
};

const gradient = <Args extends unknown[], R>(
  name: string,
  doc: string,
  centred: boolean,
  attrs: NormBackwardAttrs,
) => {
  const statistic = { dtype: 'float32' as const };
  return defineOp<Args, R>()<NormBackwardAttrs>({
    name,
    doc,
    inputs: [
      { name: 'dy', dtypes: floatDTypes, domain: [-1, 1] },
      'x',
      ...(centred ? [{ name: 'mean', ...statistic, domain: [-1, 1] as const }] : []),
      { name: 'rstd', ...statistic, domain: [0.3, 1.5] },
      parameter('weight', [0.5, 1.5]),
      'dres',
    ],
    optional: 2,
    results: centred ? 3 : 2,
    internal: true,
    attrs,
    dtypes: floatDTypes,
    infer: (inputs, a) => infer(name, centred, inputs, a),
    reference: (inputs, problem) => reference(centred, inputs, problem),
    cpu({ inputs, outputs, attrs: { dx, db } }) {
      const { dy, x, weight, dres } = backwardParts(centred, inputs);
      const { rows, n } = rowsOf(x);
      return {
        kernel: 'norm_backward',
        attrs: [
          centred ? 1 : 0,
          dtypeCode[dy.dtype],
          dtypeCode[x.dtype],
          weight ? dtypeCode[weight.dtype] : -1,
          db ? dtypeCode[db] : -1,
          dres ? 1 : 0,
          dx ? 1 : 0,
          outputs[1]!.size > 0 ? 1 : 0,
          rows,
          n,
        ],
      };
    },
    gpu: normBackwardVariants(centred),
    cost: (problem) => ({ flops: 14 * problem.inputs[1]!.size, bytes: bytesOf(problem), family: 'reduce' }),
    samples: samplesOf(centred),
    // dw and db are sums over the rows: elements cancel while their rounding errors add up like a random walk.
    tolerance: ({ inputs }) => Math.max(1e-5, 2e-6 * Math.sqrt(rowsOf(inputs[1]!).rows)),
    invalid: [
      { shapes: [[2, 3], [2], [2], [2]], code: 'ATTN_SHAPE' },
      { shapes: [[2, 3], [2, 3], [3], [3]], code: 'ATTN_SHAPE' },
    ],
  });
};

/** [dx, dw, db]; of shape [0] what is not wanted: see the attributes. `dres` is added to dx. */
export const layerNormBackward = gradient<
  [dy: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight?: Tensor, dres?: Tensor],
  [dx: Tensor, dw: Tensor, db: Tensor]
>('layer_norm_backward', 'gradients of layer_norm by x (plus dres), weight and bias', true, {
  dx: true,
  dw: true,
  db: '',
});

/** [dx, dw]; of shape [0] what is not wanted. `dres` is added to dx. */
export const rmsNormBackward = gradient<
  [dy: Tensor, x: Tensor, rstd: Tensor, weight?: Tensor, dres?: Tensor],
  [dx: Tensor, dw: Tensor]
>('rms_norm_backward', 'gradients of rms_norm by x (plus dres) and weight', false, { dx: true, dw: true });
