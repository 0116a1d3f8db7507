/** What scopes end, what escapes them, in functions and async functions alike. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { add, mul } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { keep, scope } from '../src/tensor/scope.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { child } from './support/child.js';
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

const pause = (ms = 1) => new Promise((resolve) => setTimeout(resolve, ms));
const disposed = (...tensors: Tensor[]) => tensors.map((t) => t.disposed);
/** Tensors and buffers alive. */
const alive = () => [runtime.memory().tensors, runtime.stats().buffers];

describe('a scope', () => {
  it('ends what was made in it, but for what it returns', async () => {
    const outside = tensor([1, 2]);
    let inner!: Tensor;
    const result = scope(() => {
      inner = add(outside, outside);
      return mul(inner, inner);
    });
    expect(disposed(outside, inner, result)).toEqual([false, true, false]);
    expect(await result.data()).toEqual(new Float32Array([4, 16]));
    expect(alive()).toEqual([2, 2]);
  });

  it('of an async function lasts until it settles', async () => {
    const inner: Tensor[] = [];
    const running = scope(async () => {
      inner.push(tensor([1]));
      await pause();
      inner.push(add(inner[0]!, 1));
      await pause();
      expect(disposed(...inner)).toEqual([false, false]);
      return add(inner[1]!, 1);
    });
    expect(disposed(...inner)).toEqual([false]);
    const result = await running;
    expect(disposed(...inner)).toEqual([true, true]);
    expect(await result.item()).toBe(3);
    expect(alive()).toEqual([1, 1]);
  });

  it('returns any value', () => {
    expect(scope(() => 5)).toBe(5);
    expect(scope(() => null)).toBe(null);
    expect(scope(() => undefined)).toBe(undefined);
    const date = new Date();
    expect(scope(() => date)).toBe(date);
  });

  it('lets tensors out in arrays, objects, maps and sets, however deep', () => {
    const make = () => tensor([1]);
    const out = scope(() => {
      make();
      return {
        list: [make(), [make()]],
        map: new Map([['k', { t: make() }]]),
        set: new Set([make()]),
        n: 1,
        none: null,
      };
    });
    const all = [out.list[0] as Tensor, (out.list[1] as Tensor[])[0]!, out.map.get('k')!.t, ...out.set];
    expect(disposed(...all)).toEqual([false, false, false, false]);
    expect(alive()).toEqual([4, 4]);
  });

  it('lets the same tensor out once, and follows what holds itself', () => {
    interface Ring {
      t: Tensor;
      self?: Ring;
    }
    const ring = scope(() => {
      const made: Ring = { t: tensor([1]) };
      made.self = made;
      return made;
    });
    expect(ring.t.disposed).toBe(false);
    expect(ring.self).toBe(ring);
    const [a, b] = scope(() => {
      const t = tensor([1]);
      return [t, t];
    });
    expect(a).toBe(b);
    expect(alive()).toEqual([2, 2]);
  });

  it('does not end what it returns of the outside, nor what was disposed in it', async () => {
    const outside = tensor([7]);
    const same = scope(() => {
      const t = tensor([1]);
      t.dispose();
      return outside;
    });
    expect(same).toBe(outside);
    expect(await outside.item()).toBe(7);
    expect(alive()).toEqual([1, 1]);
  });

  it('leaves the storage of a returned reshape alive', async () => {
    const flat = scope(() => tensor([[1, 2], [3, 4]]).reshape([4])); // biome-ignore format: a matrix
    expect(await flat.data()).toEqual(new Float32Array([1, 2, 3, 4]));
    expect(alive()).toEqual([1, 1]);
  });

  it('ends temporaries that a read still awaits', async () => {
    const read = scope(() => ({ promise: add(tensor([1]), 1).data() }));
    expect(await read.promise).toEqual(new Float32Array([2]));
    expect(alive()).toEqual([0, 0]);
  });

  it('survives the end of its runtime', () => {
    expect(
      scope(() => {
        const own = new Runtime(cpu.options);
        const t = tensor([1], undefined, { runtime: own });
        add(t, t);
        own.dispose();
        return 3;
      }),
    ).toBe(3);
  });
});

describe('nested scopes', () => {
  it('hand what they return to the scope around them', () => {
    let middle!: Tensor;
    let inner!: Tensor;
    const outer = scope(() => {
      middle = scope(() => {
        inner = tensor([1]);
        return add(inner, 1);
      });
      expect(disposed(inner, middle)).toEqual([true, false]);
      return add(middle, 1);
    });
    expect(disposed(inner, middle, outer)).toEqual([true, true, false]);
    expect(alive()).toEqual([1, 1]);
  });

  it('of async functions that interleave keep apart', async () => {
    const made: Record<string, Tensor[]> = {};
    const task = (name: string, steps: number) =>
      scope(async () => {
        const mine: Tensor[] = [];
        made[name] = mine;
        for (let i = 0; i < steps; i++) {
          mine.push(tensor([i]));
          await pause(i % 2);
          expect(mine.some((t) => t.disposed)).toBe(false);
        }
        return mine[0]!;
      });
    const [short, long] = [task('short', 2), task('long', 12)];
    const first = await short;
    expect(disposed(...made.short!)).toEqual([false, true]);
    expect(made.long!.some((t) => t.disposed)).toBe(false);
    const second = await long;
    expect(made.long!.filter((t) => !t.disposed)).toEqual([second]);
    expect([await first.item(), await second.item()]).toEqual([0, 0]);
    expect(alive()).toEqual([2, 2]);
  });

  it('may outlive the one around them', async () => {
    let inner!: Promise<Tensor>;
    scope(() => {
      inner = scope(async () => {
        await pause(5);
        return add(tensor([1]), 1);
      });
    });
    const result = await inner;
    expect(result.disposed).toBe(false);
    expect(await result.item()).toBe(2);
    expect(alive()).toEqual([1, 1]);
  });

  it('make nothing that cannot be collected once they are over', async () => {
    // Work that a scope does not wait for belongs to none: the garbage collector must know of it.
    const ended = await child(
      `
      const { add, memory, scope, tensor } = attn;
      const later = [];
      scope(() => { for (let i = 0; i < 50; i++) later.push(Promise.resolve().then(() => { tensor([i]); })); });
      await Promise.all(later);
      const before = memory().tensors;
      for (let i = 0; i < 100 && memory().tensors > 0; i++) { gc(); await new Promise((r) => setTimeout(r, 10)); }
      console.log(JSON.stringify([before, memory().tensors]));`,
      { flags: ['--expose-gc'], env: { ATTN_VK_ROUTE: 'cpu' } },
    );
    expect(ended.json()).toEqual([50, 0]);
  });
});

describe('errors', () => {
  it('end everything made in the scope, and pass', () => {
    let inner!: Tensor;
    expect(() =>
      scope(() => {
        inner = tensor([1]);
        throw new RangeError('mine');
      }),
    ).toThrow(new RangeError('mine'));
    expect(inner.disposed).toBe(true);
    expect(alive()).toEqual([0, 0]);
  });

  it('do so from async functions, and from inner scopes', async () => {
    const made: Tensor[] = [];
    const running = scope(async () => {
      made.push(tensor([1]));
      await scope(async () => {
        made.push(tensor([2]));
        await pause();
        throw new RangeError('inner');
      });
    });
    await expect(running).rejects.toThrow('inner');
    expect(disposed(...made)).toEqual([true, true]);
    expect(alive()).toEqual([0, 0]);
  });

  it('that are caught within leave the outer scope whole', async () => {
    const result = scope(() => {
      const x = tensor([2]);
      try {
        scope(() => {
          tensor([1]);
          add(x, tensor([1, 2, 3])).reshape([7]);
        });
      } catch {}
      return add(x, 1);
    });
    expect(await result.item()).toBe(3);
    expect(alive()).toEqual([1, 1]);
  });
});

describe('keep', () => {
  it('takes a tensor out of every scope', async () => {
    let kept!: Tensor;
    scope(() => {
      scope(() => {
        kept = keep(add(tensor([1]), 1));
        expect(keep(kept)).toBe(kept);
      });
    });
    expect(kept.disposed).toBe(false);
    expect(await kept.item()).toBe(2);
    kept.dispose();
    expect(alive()).toEqual([0, 0]);
  });

  it('holds although the function fails', () => {
    let kept!: Tensor;
    expect(() =>
      scope(() => {
        kept = keep(tensor([1]));
        throw new Error('x');
      }),
    ).toThrow('x');
    expect(kept.disposed).toBe(false);
  });
});

describe('using', () => {
  it('ends tensors and runtimes with their block', () => {
    let t: Tensor;
    let own: Runtime;
    {
      using inner = new Runtime(cpu.options);
      using x = tensor([1], undefined, { runtime: inner });
      own = inner;
      t = x;
      expect(t.disposed).toBe(false);
    }
    expect(t.disposed).toBe(true);
    expect(own.disposed).toBe(true);
  });
});
