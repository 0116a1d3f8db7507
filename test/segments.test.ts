/** Parts of a network that are computed again for their gradient: stretches of a sequence, several results at once. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { segmented } from '../src/autograd/segments.js';
import { add, checkpoint, concat, mul, slice, sum, tanh } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { scope } from '../src/tensor/scope.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { sequence } from './support/layers.js';
import { cpu } from './support/sides.js';

let runtime: Runtime;
beforeEach(() => {
  runtime = new Runtime(cpu.options);
  useRuntime(runtime);
});
afterEach(() => {
  useRuntime(undefined);
  runtime.dispose();
});

const values = (t: Tensor) => t.dataSync() as Float32Array;

describe('stretches of a sequence', () => {
  const step = (part: Tensor, _from: number, [carry]: readonly Tensor[]): [Tensor, Tensor] => {
    const h = tanh(carry ? add(part, carry) : part);
    const to = h.shape[1]!;
    return [h, slice(h, { starts: [0, to - 1] })];
  };

  it('carry gradients from one to the one before', () => {
    const run = (cut: boolean) => {
      const x = sequence(2, 9, 3);
      x.requiresGrad = true;
      const rows = (from: number) => slice(x, { starts: [0, from], ends: [2, from + 3] });
      const apart = () => {
        const parts: Tensor[] = [];
        let carry: Tensor[] = [];
        for (const from of [0, 3, 6]) {
          const [y, next] = step(rows(from), from, carry);
          parts.push(y);
          carry = [next];
        }
        return concat(parts, { axis: 1 });
      };
      const y = cut ? segmented(step, x, 3) : apart();
      sum(mul(y, sequence(2, 9, 3, 2))).backward();
      return [values(y), values(x.grad!)];
    };
    expect(run(true)).toEqual(run(false));
  });

  it('end what they made when one fails', async () => {
    const before = runtime.memory().host.live;
    const fails = (part: Tensor, from: number, carry: readonly Tensor[]) => {
      if (from > 3) throw new Error('enough');
      return step(part, from, carry);
    };
    const error = await failureOf(() => scope(() => segmented(fails, sequence(2, 9, 3), 3)));
    expect((error as Error).message).toBe('enough');
    await runtime.sync();
    expect(runtime.memory().host.live).toBe(before);
    expectTyped(await failureOf(() => segmented(step, sequence(2, 9, 3), 0)), { code: 'ATTN_ARGUMENT' });
  });
});

it('a checkpoint may return several tensors', () => {
  const run = (wrap: (f: (a: Tensor) => [Tensor, Tensor], x: Tensor) => readonly [Tensor, Tensor]) => {
    const x = sequence(1, 4, 5);
    x.requiresGrad = true;
    const [a, b] = wrap((t) => [tanh(t), mul(t, t)], x);
    sum(mul(a, add(b, 1))).backward();
    return values(x.grad!);
  };
  expect(run((f, x) => checkpoint(f, x))).toEqual(run((f, x) => f(x)));
});
