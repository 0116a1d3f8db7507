/** Matrix product with an epilogue: out = act(a b + bias). The CPU side is native/cpu/matmul.cc. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeCode } from '../tensor/dtype.js';
import { broadcastShapes, type Shape, show, sizeOf, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { type Activation, activationCode, activations, activationTable } from './activations.js';
import { defineOp, type Sample } from './define.js';
import { sumTo } from './elementwise.js';
import { matmulVariants } from './matmul.gpu.js';
import { frame, type MatmulAttrs, walk } from './matmul.walk.js';

export type { Activation, MatmulAttrs };

const product = (
  m: number,
  n: number,
  k: number,
  attrs: Partial<MatmulAttrs> = {},
  bias = false,
): Sample<MatmulAttrs> => ({
  shapes: [attrs.transposeA ? [k, m] : [m, k], attrs.transposeB ? [n, k] : [k, n], ...(bias ? [[n]] : [])],
  attrs,
});

const given = (...shapes: Shape[]) => ({ shapes });

export const matmul = defineOp<[a: Tensor, b: Tensor, bias?: Tensor]>()<MatmulAttrs>({
  name: 'matmul',
  doc: 'act(a b + bias), batched, either operand transposed; halves are summed in float32',
  inputs: [
    { name: 'a', domain: [-1, 1] },
    { name: 'b', domain: [-1, 1] },
    { name: 'bias', domain: [-1, 1] },
  ],
  optional: 1,
  autocast: 'half',
  attrs: { transposeA: false, transposeB: false, activation: 'none', outDtype: '' },
  dtypes: ['float32', 'float16', 'bfloat16'],

  infer([a, b, bias], attrs) {
    const op = 'matmul';
    if (!activations.includes(attrs.activation))
      throw new ArgumentError(`unknown activation '${String(attrs.activation)}'`, {
        op,
        hint: `use one of ${activations.join(', ')}`,
      });
    const dtype = attrs.outDtype || a!.dtype;
    if (dtype !== a!.dtype && dtype !== 'float32')
      throw new ArgumentError(`outDtype ${String(dtype)} is neither that of the inputs nor float32`, {
        op,
        hint: 'cast the result',
      });
    const both = `a ${show(a!.shape)} and b ${show(b!.shape)}`;
    if (a!.rank === 0 || b!.rank === 0)
      throw new ShapeError(`${both}: a scalar is not a matrix`, { op, hint: 'multiply with mul' });
    if ((attrs.transposeA && a!.rank === 1) || (attrs.transposeB && b!.rank === 1))
      throw new ArgumentError(`${both}: a vector cannot be transposed`, { op, hint: 'leave the flag out' });
    const { m, n, k, bk, aBatch, bBatch } = frame(a!.shape, b!.shape, attrs);
    if (k !== bk)
      throw new ShapeError(`${both} share no inner size: ${k} and ${bk}`, {
        op,
        hint: `a is [..., ${attrs.transposeA ? 'K, M' : 'M, K'}] and b is [..., ${attrs.transposeB ? 'N, K' : 'K, N'}]`,
      });
    if (bias && (bias.rank !== 1 || bias.size !== n || b!.rank === 1))
      throw new ShapeError(`bias ${show(bias.shape)} does not fit ${both}`, {
        op,
        hint: `bias is [N], here [${n}]`,
      });
    const shape = [...broadcastShapes([aBatch, bBatch], op, () => `the batches of ${both}`)];
    if (a!.rank > 1) shape.push(m);
    if (b!.rank > 1) shape.push(n);
    return [spec(shape, dtype)];
  },

  reference([a, b, bias], problem) {
    const { m, n, k, batch, aSteps, bSteps } = walk(problem);
    const { transposeA, transposeB, activation } = problem.attrs;
    const [aRow, aCol] = transposeA ? [1, m] : [k, 1];
    const [bRow, bCol] = transposeB ? [1, k] : [n, 1];
    const out = new Float64Array(sizeOf(batch) * m * n);
    for (let z = 0; z < sizeOf(batch); z++) {
      let aAt = 0;
      let bAt = 0;
      for (let d = batch.length - 1, rest = z; d >= 0; rest = Math.floor(rest / batch[d]!), d--) {
        aAt += (rest % batch[d]!) * aSteps[d]! * m * k;
        bAt += (rest % batch[d]!) * bSteps[d]! * k * n;
      }
      for (let i = 0; i < m; i++)
        for (let j = 0; j < n; j++) {
          let sum = bias ? bias[j]! : 0;
          for (let l = 0; l < k; l++) sum += a![aAt + i * aRow + l * aCol]! * b![bAt + l * bRow + j * bCol]!;
          out[(z * m + i) * n + j] = activationTable[activation].f(sum);
        }
    }
    return [out];
  },

  cpu(problem) {
    const { m, n, k, batch, aSteps, bSteps } = walk(problem);
    const { transposeA, transposeB, activation } = problem.attrs;
    const moves = (steps: number[]) => [steps.length, ...steps.map((s) => Number(s !== 0))];
    return {
      kernel: 'matmul',
      attrs: [
        dtypeCode[problem.inputs[0]!.dtype],
        dtypeCode[problem.outputs[0]!.dtype],
        activationCode[activation],
        Number(problem.inputs.length > 2),
        m,
        n,
        k,
        Number(transposeA),
        Number(transposeB),
        batch.length,
        ...batch,
        ...moves(aSteps),
        ...moves(bSteps),
      ],
    };
  },

  gpu: matmulVariants,

  cost(problem) {
    const { m, n, k, batch } = walk(problem);
    const bytes = [...problem.inputs, ...problem.outputs].reduce((sum, s) => sum + s.bytes, 0);
    return { flops: 2 * m * n * k * sizeOf(batch), bytes, family: 'gemm' };
  },

  // Y = A B: dA = dY Bᵀ, dB = Aᵀ dY, each in the form its operand is stored in. What an activation was applied to is
  // made again: linear keeps it instead.
  backward({ grads, needs, inputs: [a, b, bias], attrs, problem, F }) {
    const { transposeA: ta, transposeB: tb } = attrs;
    const { m, n } = frame(a!.shape, b!.shape, attrs);
    let y = grads[0]!;
    if (attrs.activation !== 'none') {
      const z = F.matmul!(a, b, ...(bias ? [bias] : []), { ...attrs, activation: 'none' });
      y = F.activationBackward!(y, z, { activation: attrs.activation });
    }
    const g = (y.dtype === a!.dtype ? y : F.cast!(y, { dtype: a!.dtype })).reshape([
      ...broadcastShapes([a!.shape.slice(0, -2), b!.shape.slice(0, -2)], 'matmul'),
      m,
      n,
    ]);
    const rows = a!.shape.length === 1 ? a!.reshape([1, a!.shape[0]!]) : a!;
    const columns = b!.shape.length === 1 ? b!.reshape([b!.shape[0]!, 1]) : b!;
    const da = () =>
      ta
        ? F.matmul!(columns, g, { transposeA: tb, transposeB: true })
        : F.matmul!(g, columns, { transposeB: !tb });
    const db = () =>
      tb ? F.matmul!(g, rows, { transposeA: true, transposeB: ta }) : F.matmul!(rows, g, { transposeA: !ta });
    const gradients = [
      needs[0] ? sumTo(da(), rows.shape, F).reshape(a!.shape) : null,
      needs[1] ? sumTo(db(), columns.shape, F).reshape(b!.shape) : null,
    ];
    if (bias) gradients.push(needs[2] ? sumTo(g, problem.inputs[2]!.shape, F) : null);
    return gradients;
  },
  saves: { inputs: [0, 1, 2] },

  tolerance: (problem) => Math.max(1e-5, walk(problem).k * 2 ** -23),

  samples: [
    product(1, 1, 1),
    product(17, 33, 65),
    product(7, 5, 9),
    product(16, 16, 16),
    product(64, 128, 32),
    product(0, 4, 3),
    product(4, 0, 3),
    product(3, 5, 0),
    product(3, 5, 0, { activation: 'silu' }, true),
    product(1, 300, 70),
    product(300, 1, 70),
    product(130, 66, 40, { transposeB: true }),
    product(130, 66, 40, { transposeA: true }),
    product(130, 66, 40, { transposeA: true, transposeB: true }),
    product(17, 33, 65, { transposeB: true }),
    product(17, 33, 65, { transposeA: true }),
    product(17, 33, 65, { transposeA: true, transposeB: true }),
    ...activations.map((activation) => product(19, 30, 12, { activation }, true)),
    product(40, 72, 64, { activation: 'gelu' }),
    product(19, 31, 12, { activation: 'gelu' }, true),
    { ...product(33, 30, 17, { outDtype: 'float32' }, true), dtypes: ['bfloat16', 'float16'] },
    given([5], [5]),
    given([7], [3, 7, 4]),
    given([2, 6, 7], [7]),
    given([3, 17, 20], [3, 20, 9]),
    given([3, 8, 6], [6, 5], [5]),
    given([8, 6], [3, 6, 5]),
    given([2, 1, 8, 6], [3, 6, 5]),
    { ...given([4, 1, 3, 8, 6], [2, 1, 5, 6]), attrs: { transposeB: true } },
    { ...given([3, 6, 9], [6, 5]), attrs: { transposeA: true } },
    given([0, 4, 3], [3, 5]),
    { ...product(70000, 3, 5), heavy: true },
    { ...given([70000, 2, 3], [70000, 3, 2]), dtypes: ['float32'], heavy: true },
    { ...product(257, 300, 511), heavy: true },
    { ...product(3, 2, 70000), heavy: true }, // more turns of a loop than software drivers run
    // Larger than a binding of 128 MiB; test/matmul-cut.test.ts cuts smaller ones every way.
    { ...product(70001, 500, 2), dtypes: ['float32'], heavy: true },
  ],
  invalid: [
    { ...given([2, 3], [4, 5]), code: 'ATTN_SHAPE' },
    { ...given([2, 3], [3, 5]), attrs: { transposeA: true }, code: 'ATTN_SHAPE' },
    { ...given([], [3, 5]), code: 'ATTN_SHAPE' },
    { ...given([2, 4, 3], [3, 3, 5]), code: 'ATTN_SHAPE' },
    { ...given([2, 3], [3, 5], [4]), code: 'ATTN_SHAPE' },
    { ...given([2, 3], [3, 5], [1, 5]), code: 'ATTN_SHAPE' },
    { ...given([3], [3, 5]), attrs: { transposeA: true }, code: 'ATTN_ARGUMENT' },
    { ...given([2, 3], [3, 5]), attrs: { activation: 'swish' as Activation }, code: 'ATTN_ARGUMENT' },
    { ...given([2, 3], [3, 5]), attrs: { outDtype: 'int32' }, code: 'ATTN_ARGUMENT' },
    { ...given([2, 3], [3, 5]), dtypes: ['float32', 'bfloat16'], code: 'ATTN_DTYPE' },
    { ...given([2, 3], [3, 5]), dtypes: ['int32', 'int32'], code: 'ATTN_DTYPE' },
  ],
});
