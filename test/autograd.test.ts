/** Autograd: what reaches the leaves, what is freed and when, and what is refused. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  accumulateStep,
  add,
  autocast,
  cast,
  checkpoint,
  clipGradNorm,
  Dropout,
  detectAnomaly,
  div,
  exp,
  Generator,
  gelu,
  grad,
  gradcheck,
  matmul,
  mul,
  noGrad,
  normal,
  pow,
  relu,
  softmax,
  sum,
  tanh,
  valueAndGrad,
} from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { scope } from '../src/tensor/scope.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
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

const leaf = (values: number[], shape?: number[]): Tensor => {
  const t = tensor(values, shape);
  t.requiresGrad = true;
  return t;
};
const alive = () => [runtime.memory().tensors, runtime.stats().buffers];
const code = (fn: () => unknown): string => {
  try {
    fn();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'nothing was thrown';
};

describe('backward', () => {
  it('reaches every leaf, along every path', () => {
    const x = leaf([1, 2, 3]);
    const y = leaf([4, 5, 6]);
    const z = mul(x, y);
    sum(add(mul(z, z), x)).backward(); // d/dx = 2 x y² + 1
    expect([...x.grad!.dataSync()]).toEqual([33, 101, 217]);
    expect([...y.grad!.dataSync()]).toEqual([8, 40, 108]);
    expect(z.grad).toBeNull();
  });

  it('adds to what is there, until grad is null', () => {
    const x = leaf([2]);
    mul(x, x).backward();
    mul(x, x).backward();
    expect(x.grad!.itemSync()).toBe(8);
    x.grad = null;
    mul(x, x).backward();
    expect(x.grad!.itemSync()).toBe(4);
  });

  it('takes a gradient for what is no scalar', () => {
    const x = leaf([1, 2]);
    mul(x, x).backward(tensor([10, 100]));
    expect([...x.grad!.dataSync()]).toEqual([20, 400]);
  });

  it('follows reshapes and broadcasts', () => {
    const x = leaf([1, 2, 3, 4, 5, 6], [2, 3]);
    const row = leaf([1, 10, 100]);
    sum(mul(x.reshape([3, 2]).reshape([2, 3]), row)).backward();
    expect(x.grad!.shape).toEqual([2, 3]);
    expect([...row.grad!.dataSync()]).toEqual([5, 7, 9]);
  });

  it('frees what was saved as it goes', () => {
    const x = leaf([1, 2, 3]);
    const loss = scope(() => sum(exp(exp(exp(x)))));
    expect(alive()).toEqual([2, 5]); // what the tape saved has no tensors
    loss.backward();
    loss.dispose();
    expect(alive()).toEqual([2, 2]); // x and its gradient
  });

  it('leaves nothing of a graph that ends without a backward', () => {
    const x = leaf([1, 2, 3]);
    scope(() => {
      sum(exp(mul(tanh(x), 2)));
    });
    expect(alive()).toEqual([1, 1]);
  });

  it('keeps what it needs when the tensors themselves are disposed', () => {
    const x = leaf([0.5]);
    const y = exp(x);
    const loss = mul(y, y);
    y.dispose();
    loss.backward();
    expect(x.grad!.itemSync()).toBeCloseTo(2 * Math.exp(1), 5);
  });

  it('goes through a chain longer than any stack', () => {
    const x = leaf([1]);
    scope(() => {
      let y: Tensor = x;
      for (let i = 0; i < 20_000; i++) y = add(y, x);
      sum(y).backward();
    });
    expect(x.grad!.itemSync()).toBe(20_001);
  });

  it('is refused twice, unless the graph is retained', () => {
    const x = leaf([3]);
    const loss = mul(x, x);
    loss.backward(undefined, { retainGraph: true });
    loss.backward();
    expect(x.grad!.itemSync()).toBe(12);
    expect(() => loss.backward()).toThrow(/freed by an earlier backward/);
    expect(code(() => loss.backward())).toBe('ATTN_GRAD');
  });

  it('runs where its tensors are, whichever runtime is current', () => {
    const x = leaf([1, 2]);
    const loss = sum(mul(x, x)); // its gradient begins with zeros, which are made of nothing
    const other = new Runtime(cpu.options);
    useRuntime(other);
    loss.backward();
    useRuntime(runtime);
    other.dispose();
    expect([...x.grad!.dataSync()]).toEqual([2, 4]);
  });

  it('gives each leaf a gradient of its own', () => {
    const [a, b, g] = [leaf([1]), leaf([2]), tensor([3])];
    add(a, b).backward(g); // one tensor is the gradient of both
    expect(clipGradNorm([a, b, a], 1).itemSync()).toBeCloseTo(Math.sqrt(18), 5);
    for (const x of [a, b]) expect(x.grad!.itemSync()).toBeCloseTo(Math.SQRT1_2, 5);
    expect(g.itemSync()).toBe(3);
  });

  it('is refused where there is nothing to do', () => {
    const x = leaf([1, 2]);
    expect(code(() => mul(x, x).backward())).toBe('ATTN_SHAPE');
    expect(code(() => mul(x, x).backward(tensor([1])))).toBe('ATTN_SHAPE');
    expect(code(() => sum(x).backward({ retainGraph: true } as never))).toBe('ATTN_ARGUMENT');
    expect(code(() => sum(tensor([1, 2])).backward())).toBe('ATTN_GRAD');
    expect(code(() => noGrad(() => sum(mul(x, x))).backward())).toBe('ATTN_GRAD');
    const gone = sum(mul(x, x));
    gone.dispose();
    expect(code(() => gone.backward())).toBe('ATTN_DISPOSED');
  });

  it('has no higher derivatives, and says so', () => {
    const x = leaf([1, 2]);
    const gradient = softmax(x);
    const { softmaxBackward } = ops;
    if (!softmaxBackward) return;
    expect(() => sum(softmaxBackward(gradient, gradient)).backward()).toThrow(/higher derivatives/);
  });
});

const ops = (await import('../src/ops/index.js')) as unknown as Record<string, (...args: Tensor[]) => Tensor>;

describe('the graph', () => {
  it('is not made inside noGrad, and ends at detach', () => {
    const x = leaf([2]);
    expect(noGrad(() => mul(x, x)).requiresGrad).toBe(false);
    const y = mul(x, x);
    expect(y.requiresGrad).toBe(true);
    expect(y.detach().requiresGrad).toBe(false);
    mul(y.detach(), x).backward();
    expect(x.grad!.itemSync()).toBe(4);
  });

  it('keeps modes apart in functions that run side by side', async () => {
    const x = leaf([2]);
    const pause = () => new Promise((resolve) => setTimeout(resolve, 1));
    const seen = await Promise.all([
      noGrad(async () => {
        await pause();
        return mul(x, x).requiresGrad;
      }),
      (async () => {
        await pause();
        return mul(x, x).requiresGrad;
      })(),
    ]);
    expect(seen).toEqual([false, true]);
  });

  it('refuses gradients that do not fit', () => {
    const x = leaf([1]);
    expect(code(() => (x.grad = tensor([1, 2])))).toBe('ATTN_SHAPE');
    expect(code(() => (x.grad = 1 as never))).toBe('ATTN_ARGUMENT');
    expect(code(() => (mul(x, 2).grad = tensor([1])))).toBe('ATTN_ARGUMENT');
    expect(x.grad).toBeNull();
    x.grad = tensor([4]);
    expect(x.grad!.itemSync()).toBe(4);
  });

  it('is not changed in place, and neither are the values', () => {
    const x = leaf([1]);
    expect(code(() => accumulateStep(x, tensor([2])))).toBe('ATTN_GRAD');
    expect(x.itemSync()).toBe(1);
    noGrad(() => accumulateStep(x, tensor([2])));
    expect(x.itemSync()).toBe(3);
  });

  it('refuses leaves that cannot be', () => {
    expect(code(() => (tensor(Int32Array.of(1)).requiresGrad = true))).toBe('ATTN_ARGUMENT');
    const x = leaf([1]);
    const y = mul(x, 2);
    expect(code(() => (y.requiresGrad = false))).toBe('ATTN_ARGUMENT');
    x.requiresGrad = false;
    expect(mul(x, 2).requiresGrad).toBe(false);
  });
});

describe('functions', () => {
  it('have values and gradients that leave the arguments alone', () => {
    const x = tensor([1, 2, 3]);
    const unused = tensor([7]);
    const { value, grads } = valueAndGrad((a: Tensor, _b: Tensor, power: number) => sum(pow(a, power)))(
      x,
      unused,
      3,
    );
    expect(value.itemSync()).toBe(36);
    expect(grads.map((g) => [...g.dataSync()])).toEqual([[3, 12, 27], [0]]);
    expect(x.grad).toBeNull();
    expect([...grad((a: Tensor) => sum(mul(a, a)))(x)[0]!.dataSync()]).toEqual([2, 4, 6]);
    expect(code(() => grad((a: Tensor) => mul(a, a))(x))).toBe('ATTN_SHAPE');
    expect(code(() => grad((() => 1) as never)(x))).toBe('ATTN_ARGUMENT');
    expect(code(() => grad(1 as never))).toBe('ATTN_ARGUMENT');
  });

  it('leave nothing but what they return, also where they fail', () => {
    const x = tensor([1, 2, 3]);
    const loss = tensor(5);
    const before = alive();
    for (const t of grad((a: Tensor) => sum(exp(exp(a))))(x)) t.dispose();
    valueAndGrad((_: Tensor) => loss)(x).value.dispose(); // not made by the function, and not ended with it
    expect(loss.itemSync()).toBe(5);
    const whole = tensor(Int32Array.of(1));
    expect(code(() => valueAndGrad((a: Tensor, _: Tensor) => a)(x, whole))).toBe('ATTN_ARGUMENT');
    whole.dispose();
    expect(alive()[0]).toBe(before[0]! + 1); // the gradient of zeros
  });
});

describe('a checkpoint', () => {
  it('gives the same gradients for less memory', () => {
    const w = normal({ shape: [64, 64], seed: 1, std: 0.2 });
    w.requiresGrad = true;
    const x = normal({ shape: [256, 64], seed: 2 });
    x.requiresGrad = true;
    const part = (h: Tensor) => {
      for (let i = 0; i < 4; i++) h = tanh(matmul(h, w));
      return h;
    };
    const run = (once: (h: Tensor) => Tensor) => {
      runtime.trim();
      scope(() => {
        let h: Tensor = x;
        for (let i = 0; i < 4; i++) h = once(h);
        sum(h).backward();
      });
      const result = [w.grad!.dataSync(), x.grad!.dataSync(), runtime.memory().host.peak] as const;
      w.grad = null;
      x.grad = null;
      return result;
    };
    const plain = run(part);
    const saved = run((h) => checkpoint(part, h));
    // The four parts' shares of w's gradient are summed apart.
    for (const [i, v] of saved[0].entries()) expect(v).toBeCloseTo(plain[0][i]!, 3);
    expect(saved[1]).toEqual(plain[1]);
    expect(saved[2]).toBeLessThan(plain[2]);
  });
});

describe('a checkpoint of what', () => {
  it('requires no gradient is passed over', () => {
    const head = leaf([3, 4]);
    sum(
      mul(
        checkpoint((a) => mul(a, 2), tensor([1, 2])),
        head,
      ),
    ).backward();
    expect([...head.grad!.dataSync()]).toEqual([2, 4]);
  });

  it('returns its input leaves that a leaf', () => {
    const x = leaf([3, 4]);
    const y = checkpoint((a) => a, x);
    expect(y).not.toBe(x);
    sum(y).backward();
    expect([...x.grad!.dataSync()]).toEqual([1, 1]);
  });

  it('draws from a generator of its own winds that back', () => {
    const layer = new Dropout(0.5, new Generator(3));
    const x = leaf(new Array(64).fill(1));
    const y = checkpoint((a) => layer.forward(a), x);
    const counter = layer.random.state.counter;
    sum(y).backward();
    expect(x.grad!.dataSync()).toEqual(y.dataSync());
    expect(layer.random.state.counter).toBe(counter);
  });

  it('is no function of tensors is refused', () => {
    expect(code(() => checkpoint((a) => a, 3 as never))).toBe('ATTN_ARGUMENT');
    expect(code(() => checkpoint((async (a: Tensor) => a) as never, leaf([1])))).toBe('ATTN_ARGUMENT');
  });
});

describe('autocast', () => {
  it('casts a parameter again where the cast at hand will not do', () => {
    const w = leaf([1, 2, 3, 4], [2, 2]);
    const one = tensor([1, 0, 0, 1], [2, 2]);
    const product = () => cast(matmul(one, w), { dtype: 'float32' });
    autocast('bfloat16', () => {
      noGrad(product); // a cast without a way back
      for (let i = 0; i < 2; i++) sum(product()).backward(); // one whose graph was freed
      noGrad(() => accumulateStep(w, one)); // one of other values
      expect(product().arraySync()).toEqual([
        [2, 2],
        [3, 5],
      ]);
    });
    expect([...w.grad!.dataSync()]).toEqual([2, 2, 2, 2]);
  });

  it('multiplies in halves and returns gradients in float32', () => {
    const w = leaf([1, 2, 3, 4], [2, 2]);
    const x = tensor([1.001, 2, 3, 4], [2, 2]);
    const y = autocast('bfloat16', () => matmul(x, w));
    expect(y.dtype).toBe('bfloat16');
    sum(cast(y, { dtype: 'float32' })).backward();
    expect(w.grad!.dtype).toBe('float32');
    expect([...w.grad!.dataSync()]).toEqual([4, 4, 6, 6]);
    expect(matmul(x, w).dtype).toBe('float32');
    autocast('bfloat16', () => expect(add(x, matmul(x, w)).dtype).toBe('float32'));
    expect(code(() => autocast('int8' as never, () => 1))).toBe('ATTN_ARGUMENT');
  });
});

describe('detectAnomaly', () => {
  it('names the op and the step', () => {
    const x = leaf([1, 0]);
    expect(() => detectAnomaly(() => div(x, mul(x, 0)), { step: 7 })).toThrow(
      /div\(\): output float32\[2\] holds NaN or infinity at step 7/,
    );
    const root = detectAnomaly(() => pow(x, 0.5)); // finite, but its gradient at 0 is not
    expect(() => detectAnomaly(() => sum(root).backward())).toThrow(/pow\(\): gradient of input/);
    expect(detectAnomaly(() => sum(relu(x)).itemSync())).toBe(1);
  });
});

describe('gradcheck', () => {
  it('proves a composition in Float64', () => {
    const x = normal({ shape: [3, 4], seed: 3 });
    const w = normal({ shape: [4, 5], seed: 4 });
    const report = gradcheck((a, b) => sum(mul(softmax(gelu(matmul(a, b))), 3)), [x, w]);
    expect(report.compared).toBe(32);
    expect(report.worst).toBeLessThan(1e-7);
  });

  it('finds a wrong gradient', () => {
    const x = normal({ shape: [4], seed: 5 });
    const wrong = (a: Tensor) => sum(mul(a.detach(), a)); // half of the gradient is cut off
    expect(() => gradcheck(wrong, [x])).toThrow(/element 0 of input 0/);
    expect(code(() => gradcheck(1 as never, [x]))).toBe('ATTN_ARGUMENT');
    expect(code(() => gradcheck(() => sum(x), []))).toBe('ATTN_ARGUMENT');
  });
});
