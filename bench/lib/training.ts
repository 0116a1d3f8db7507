/** What bench:memory repeats: blocks like those of a training step, without a model, and the training of a small GPT. */

import { GPT } from '../../src/model/index.js';
import { add, gelu, matmul, mul, softmax, sub, sum } from '../../src/ops/index.js';
import { AdamW } from '../../src/optim/index.js';
import { type Runtime, useRuntime } from '../../src/runtime/runtime.js';
import { manualSeed } from '../../src/tensor/generator.js';
import { scope } from '../../src/tensor/scope.js';
import { tensor } from '../../src/tensor/tensor.js';

export const OPS = 50;
const LAYERS = 6;

export interface Workload {
  /** Resolves to the loss. */
  step(): Promise<number>;
  dispose(): void;
}

/** Blocks of 50 ops: matmuls, additions, activations, softmax, a sum. */
export function blocksOf(runtime: Runtime): Workload {
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
    // An async scope whose loss is awaited, as a progress line would.
    step: () =>
      scope(async () => {
        let h = x;
        // Six layers of eight ops.
        for (const w of weights) {
          const a = gelu(add(matmul(h, w), bias));
          const p = softmax(matmul(a, w, undefined, { transposeB: true }), { axis: -1 });
          h = add(mul(p, a), sub(h, a));
        }
        return sum(mul(h, h), { axis: [0, 1] }).item();
      }),
    dispose: () => {
      for (const t of [...weights, bias, x]) t.dispose();
    },
  };
}

/** A GPT of two layers with dropout, AdamW and clipping, on bytes that follow a rule. */
export function gptOf(runtime: Runtime): Workload {
  const before = useRuntime(runtime);
  manualSeed(1);
  const [batch, length] = [8, 64];
  const model = new GPT({ vocab: 256, layers: 2, dim: 64, heads: 4, length, dropout: 0.1 });
  const optimizer = new AdamW(model.parameters(), { lr: 1e-3, maxNorm: 1 });
  let taken = 0;
  return {
    step: () =>
      scope(async () => {
        const ids = Int32Array.from({ length: batch * length }, (_, i) => (5 * i + 13 * taken) % 251);
        const labels = ids.map((v) => (v + 5) % 251);
        taken++;
        const loss = model.loss(tensor(ids, [batch, length]), tensor(labels, [batch, length]));
        loss.backward();
        optimizer.step();
        optimizer.zeroGrad();
        return loss.item();
      }),
    dispose: () => {
      optimizer.dispose();
      model.dispose();
      useRuntime(before);
    },
  };
}
