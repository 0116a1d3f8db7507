/** Blocks like those of a training step, without a model: matmuls, additions, activations, softmax, sums. */
import { add, gelu, matmul, mul, softmax, sub, sum } from '../../src/ops/index.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { scope } from '../../src/tensor/scope.js';
import { type Tensor, tensor } from '../../src/tensor/tensor.js';

export const OPS = 50;
const LAYERS = 6;

export interface Model {
  weights: Tensor[];
  bias: Tensor;
  x: Tensor;
  dispose(): void;
}

export function makeModel(runtime: Runtime): Model {
  let seed = 1;
  const values = (...shape: number[]) =>
    tensor(
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => {
        seed = (seed * 48271) % 0x7fffffff;
        return (seed / 0x7fffffff - 0.5) / 4;
      }),
      shape,
      { runtime },
    );
  const weights = Array.from({ length: LAYERS }, () => values(64, 64));
  const [bias, x] = [values(64), values(64, 64)];
  return {
    weights,
    bias,
    x,
    dispose: () => {
      for (const t of [...weights, bias, x]) t.dispose();
    },
  };
}

/** One block of 50 ops in an async scope; the loss is awaited, as a progress line would. */
export const step = ({ weights, bias, x }: Model): Promise<number> =>
  scope(async () => {
    let h = x;
    // Six layers of eight ops.
    for (const w of weights) {
      const a = gelu(add(matmul(h, w), bias));
      const p = softmax(matmul(a, w, undefined, { transposeB: true }), { axis: -1 });
      h = add(mul(p, a), sub(h, a));
    }
    return sum(mul(h, h), { axis: [0, 1] }).item();
  });
