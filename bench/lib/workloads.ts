/**
 * Fixed work whose counts are the same on every run of a build: what the gate compares. Each step ends with a sync,
 * so that no count depends on how far the executor had come when JavaScript went on.
 */
import { add, cast, exp, gelu, matmul, mul, permute, relu, softmax, sub, sum } from '../../src/ops/index.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { scope } from '../../src/tensor/scope.js';
import { type Tensor, tensor } from '../../src/tensor/tensor.js';
import { gptOf } from './training.js';

export type Workload = (runtime: Runtime) => Promise<void>;

const filled = (runtime: Runtime, ...shape: number[]): Tensor =>
  tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.25), shape, { runtime });

/**
 * Counts that vary from run to run. Where memory is handed out again depends on how far the device had come, and with it
 * whether two launches touch the same bytes: in a step of a thousand launches that is a barrier more or less. Uploads of
 * the next step may or may not meet those of the last.
 */
export const varying: Record<string, readonly string[]> = {
  training: ['barriers', 'host bytes at the peak', 'device bytes at the peak'],
};

export const workloads: Record<string, Workload> = {
  /** Small dependent ops: recording, block sizes, a dispatch and a barrier to each. */
  chain: (runtime) =>
    scope(async () => {
      let x = filled(runtime, 16, 16);
      const one = filled(runtime, 16, 16);
      await runtime.sync();
      for (let i = 0; i < 500; i++) x = add(x, one);
      await x.data();
    }),

  /** Ops that do not depend on each other need no barriers between them. */
  independent: (runtime) =>
    scope(async () => {
      const xs = Array.from({ length: 8 }, () => filled(runtime, 64, 64));
      await runtime.sync();
      const kept: Tensor[] = [];
      for (let round = 0; round < 4; round++) for (const x of xs) kept.push(relu(x));
      await runtime.sync();
    }),

  /** Two layers of a perceptron and a softmax over its outputs, ten times: temporaries must not pile up. */
  perceptron: (runtime) =>
    scope(async () => {
      const [w1, w2, x] = [filled(runtime, 64, 256), filled(runtime, 256, 64), filled(runtime, 128, 64)];
      await runtime.sync();
      for (let step = 0; step < 10; step++)
        await scope(async () => {
          const y = matmul(gelu(matmul(x, w1)), w2);
          const error = sub(softmax(y, { axis: -1 }), x);
          await sum(mul(error, error), { axis: [0, 1] }).data();
        });
    }),

  /** Scores and values of one attention head with an explicit transpose. */
  attention: (runtime) =>
    scope(async () => {
      const [q, k, v] = [filled(runtime, 256, 64), filled(runtime, 256, 64), filled(runtime, 256, 64)];
      await runtime.sync();
      const scores = softmax(mul(matmul(q, permute(k, { axes: [1, 0] })), 0.125), { axis: -1 });
      await matmul(scores, v).data();
    }),

  /** Steps of a small GPT: forward, backward, clipping and AdamW over an arena. */
  training: async (runtime) => {
    const work = gptOf(runtime);
    for (let step = 0; step < 3; step++) await work.step();
    work.dispose();
    await runtime.sync();
  },

  /** bfloat16 storage, and data that goes up and comes back each time. */
  transfers: async (runtime) => {
    for (let i = 0; i < 5; i++) {
      await scope(async () => {
        const x = filled(runtime, 300, 300);
        await runtime.sync();
        await exp(cast(cast(x, { dtype: 'bfloat16' }), { dtype: 'float32' })).data();
      });
      await runtime.sync();
    }
  },
};
