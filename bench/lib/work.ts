/** One case on one runtime: ways to run it that can be timed. All times in seconds. */
import type { OpTable, Problem } from '../../src/ops/contract.js';
import * as exported from '../../src/ops/index.js';
import { record } from '../../src/ops/record.js';
import { slice } from '../../src/ops/slice.js';
import type { Explanation, Route } from '../../src/runtime/native.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { allocateArray, type TypedArray } from '../../src/tensor/dtype.js';
import { scope } from '../../src/tensor/scope.js';
import type { Tensor } from '../../src/tensor/tensor.js';
import type { Case } from './cases.js';
import { hostOperands } from './operands.js';
import { batchSize, type Contender } from './timing.js';

export class Work {
  #operands: Tensor[];
  #target: TypedArray;

  constructor(
    readonly runtime: Runtime,
    readonly c: Case,
  ) {
    this.#operands = hostOperands(c, runtime);
    const out = c.problem.outputs[0]!;
    this.#target = allocateArray(out.dtype, out.size);
  }

  /** The result, computed on a side. */
  async result(route: Route): Promise<TypedArray> {
    this.runtime.route = route;
    const y = this.#op(this.#operands);
    const data = await y.data();
    y.dispose();
    return data;
  }

  /**
   * Operands where the op runs, result left there: `count` ops between two syncs. The first of them go off at once,
   * so that the executor works while the rest is recorded, as it does in the midst of a program.
   */
  async batch(count: number): Promise<number> {
    await this.runtime.sync();
    const start = performance.now();
    let flushAt = 2;
    scope(() => {
      for (let i = 1; i <= count; i++) {
        this.#op(this.#operands).dispose();
        if (i === flushAt) {
          this.runtime.flush();
          flushAt *= 4;
        }
      }
    });
    await this.runtime.sync();
    return (performance.now() - start) / 1e3 / count;
  }

  /** The op's gradient by all of its inputs, with what it saves at hand: `count` of them between two syncs. */
  async #backwardBatch(count: number): Promise<number> {
    const { op, problem } = this.c;
    const outputs = record(op, this.#operands, this.c.attrs);
    const held = (tensors: readonly Tensor[], which: readonly number[] = []) =>
      tensors.map((t, i) => (which.includes(i) ? t : undefined));
    const context = {
      grads: outputs.slice(0, op.results ?? 1),
      needs: this.#operands.map(() => true),
      pending: [],
      inputs: held(this.#operands, op.saves?.inputs),
      outputs: held(outputs, op.saves?.outputs),
      attrs: problem.attrs as object,
      problem: problem as Problem<object>,
      F: exported as unknown as OpTable,
    };
    await this.runtime.sync();
    const start = performance.now();
    for (let i = 0; i < count; i++)
      scope(() => {
        op.backward!(context);
      });
    await this.runtime.sync();
    const seconds = (performance.now() - start) / 1e3 / count;
    for (const t of outputs) t.dispose();
    return seconds;
  }

  /** Times batches of gradients on a side. */
  backward(route: Route): Contender {
    let count = 1;
    return {
      begin: async () => {
        this.runtime.route = route;
        await this.#backwardBatch(1);
        count = batchSize(await this.#backwardBatch(4));
      },
      sample: async () => [await this.#backwardBatch(count)],
    };
  }

  /** Operands in host memory alone, result in a typed array: what a call costs that a program makes by itself. */
  async endToEnd(): Promise<number> {
    const operands = hostOperands(this.c, this.runtime);
    await this.runtime.sync();
    const start = performance.now();
    const y = this.#op(operands);
    await this.runtime.read(y.storage('bench', 'y').buffer, this.#target);
    const seconds = (performance.now() - start) / 1e3;
    for (const t of [y, ...operands]) t.dispose();
    return seconds;
  }

  /** Times batches on a side; the batch's size follows from a first run of it. */
  async batches(route: Route): Promise<Contender & { count: number }> {
    this.runtime.route = route;
    const cold = await this.batch(1);
    // A slow op is not run again to learn that it is slow.
    const one = cold > 0.1 ? cold : Math.min(await this.batch(2), await this.batch(4));
    const count = one > 2e-3 ? batchSize(one) : batchSize(await this.batch(batchSize(one)));
    return {
      count,
      begin: async () => {
        this.runtime.route = route;
        if (one < 0.05) await this.batch(count);
      },
      sample: async () => [await this.batch(count)],
    };
  }

  /** One op and a wait for it. */
  single(route: Route): Contender {
    return {
      begin: async () => void (this.runtime.route = route),
      sample: async () => [await this.batch(1)],
    };
  }

  transfers(route: Route): Contender {
    return {
      begin: async () => void (this.runtime.route = route),
      sample: async () => [await this.endToEnd()],
    };
  }

  /**
   * What the router chooses. With transfers first: that run is the first of its op, and the router learns nothing
   * from first runs, so both choices rest on the calibration alone.
   */
  async choices(): Promise<{ transfers: Explanation; resident: Explanation }> {
    const { runtime } = this;
    runtime.route = 'auto';
    const operands = hostOperands(this.c, runtime);
    let reading: Promise<unknown> | undefined;
    const transfers = runtime.explain(() => {
      const y = this.#op(operands);
      reading = y.data();
      y.dispose();
    });
    await reading;
    // An op of another kind takes the operands to the device; the host's copies stay valid.
    runtime.route = 'gpu';
    for (const x of operands) slice(x, { starts: [0, 0], ends: [1, 1] }).dispose();
    await runtime.sync();
    runtime.route = 'auto';
    const resident = runtime.explain(() => this.#op(operands).dispose());
    for (const t of operands) t.dispose();
    await runtime.sync();
    return { transfers: transfers[0]!, resident: resident[0]! };
  }

  dispose(): void {
    for (const t of this.#operands) t.dispose();
  }

  #op(operands: Tensor[]): Tensor {
    const [y, ...saved] = record(this.c.op, operands, this.c.attrs);
    for (const t of saved) t.dispose();
    return y!;
  }
}
