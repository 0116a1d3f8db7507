/** Holographic attention: what holds exactly, and what in the mean. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HoloAttention } from '../src/attention/holo.js';
import {
  add,
  concat,
  holoAttention,
  manualSeed,
  mul,
  normal,
  Rotary,
  rope,
  ropeTable,
  slice,
  sum,
} from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { scope } from '../src/tensor/scope.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { noise, sequence, worst } from './support/layers.js';
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
const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((total, v, i) => total + v * b[i]!, 0);

describe('phasors of positions', () => {
  const [T, D, shift] = [24, 32, 17];
  /** o of one binding at place 0 read from every place: what is left of the rotation is the distance. */
  const turned = (first: number): Float32Array => {
    const table = ropeTable({ length: T + shift, dim: D });
    const places = tensor(
      Int32Array.from({ length: T }, (_, t) => first + t),
      [T],
    );
    const one = (seed: number) => {
      const x = noise(D, seed);
      return tensor(
        Float32Array.from({ length: T * D }, (_, i) => x[i % D]!),
        [1, T, 1, D],
      );
    };
    const [q, k] = [1, 2].map((seed) => rope(one(seed), table, places));
    const keep = tensor(
      Uint8Array.from({ length: T }, (_, t) => Number(t === 0)),
      [1, T],
      { dtype: 'bool' },
    );
    const qkv = concat([q!, k!, one(3)], { axis: 2 });
    return values(holoAttention(qkv, tensor(new Float32Array(0)), keep, undefined, { heads: 1 })[0]);
  };

  it('leave distances alone: the same reading wherever a sequence begins', () => {
    expect(worst(turned(0), turned(shift))).toBeLessThan(1e-6);
    // And they do turn it.
    const here = turned(0);
    expect(worst(here.subarray(0, D), here.subarray(3 * D, 4 * D))).toBeGreaterThan(0.1);
  });

  it('do so to 9e-15 in Float64', () => {
    const table = new Float64Array((T + shift) * D);
    for (let t = 0; t < T + shift; t++)
      for (let i = 0; i < D / 2; i++) {
        table[t * D + 2 * i] = Math.cos(t * 10000 ** ((-2 * i) / D));
        table[t * D + 2 * i + 1] = Math.sin(t * 10000 ** ((-2 * i) / D));
      }
    const x = [1, 2].map((seed) => Float64Array.from(noise(D, seed)));
    const at = (vector: Float64Array, place: number) => {
      const specs = [{ shape: [1, 1, 1, D] }, { shape: [T + shift, D / 2, 2] }, { shape: [1] }];
      const problem = { inputs: specs.map((s) => ({ ...s, rank: s.shape.length })), attrs: rope.op.attrs };
      return rope.op.reference([vector, table, Float64Array.of(place)], problem as never)[0]!;
    };
    const score = (i: number, j: number) => dot(at(x[0]!, i), at(x[1]!, j));
    for (const [i, j] of [
      [5, 2],
      [T - 1, 0],
    ] as const)
      expect(Math.abs(score(i, j) - score(i + shift, j + shift))).toBeLessThan(9e-15);
  });
});

describe('holo_attention', () => {
  const [B, T, H, D, R] = [2, 70, 2, 8, 2];
  const F = D / 2;
  const operands = () => ({
    qkv: sequence(B, T, (2 * R + 1) * H * D).reshape([B, T, (2 * R + 1) * H, D]),
    decay: tensor(
      noise(B * T * H * F, 2).map((v) => (v - 1) / 8),
      [B, T, H, F],
    ),
    keep: tensor(
      Uint8Array.from({ length: B * T }, (_, i) => Number(i % 7 !== 2)),
      [B, T],
      { dtype: 'bool' },
    ),
  });
  const part = (x: Tensor, from: number, to: number) => slice(x, { starts: [0, from], ends: [B, to] });
  const attrs = { heads: H, copies: R };

  it('is the same in pieces that hand their state on, and so is its gradient', () => {
    const run = (cuts: readonly number[]) => {
      const { qkv, decay, keep } = operands();
      qkv.requiresGrad = true;
      decay.requiresGrad = true;
      let state = tensor(new Float32Array(0));
      const read: Tensor[] = [];
      [0, ...cuts].forEach((from, i) => {
        const to = cuts[i] ?? T;
        const [o, next] = holoAttention(
          part(qkv, from, to),
          part(decay, from, to),
          part(keep, from, to),
          state,
          attrs,
        );
        read.push(o);
        state = next;
      });
      const y = concat(read, { axis: 1 });
      add(sum(mul(y, sequence(B, T, H * D, 5).reshape([B, T, H, D]))), sum(mul(state, state))).backward();
      return [y, state, qkv.grad!, decay.grad!].map(values);
    };
    const whole = run([]);
    run([1, 33, 65]).forEach((piece, i) => {
      const size = Math.max(1, ...whole[i]!.map(Math.abs));
      expect(worst(piece, whole[i]!) / size).toBeLessThan(2e-6);
    });
  });

  it('reads with a noise that falls as the root of its copies', () => {
    const [items, channels, heads] = [48, 64, 8];
    /** Mean square error of reading each of `items` values by its key, over the copies' independent keys. */
    const error = (copies: number) => {
      const keys = normal({ shape: [1, items, copies * heads, channels], seed: 3 });
      const v = normal({ shape: [1, items, heads, channels], seed: 4 });
      const [, state] = holoAttention(concat([keys, keys, v], { axis: 2 }), { heads, copies });
      const none = tensor(new Float32Array(0));
      const keep = tensor(new Uint8Array(items), [1, items], { dtype: 'bool' });
      // All are read from the state after the last: nothing more is kept.
      const [o] = holoAttention(concat([keys, keys, v], { axis: 2 }), none, keep, state, { heads, copies });
      const [got, wanted] = [values(o), values(v)];
      return got.reduce((s, x, i) => s + (x * Math.sqrt(items) - wanted[i]!) ** 2, 0) / got.length;
    };
    const one = error(1);
    for (const copies of [4, 16])
      expect(Math.abs(Math.sqrt(one / error(copies) / copies) - 1)).toBeLessThan(0.1);
  });
});

describe('HoloAttention', () => {
  const [B, T, C] = [2, 29, 16];
  const layer = (own: object = {}) => {
    manualSeed(5);
    return new HoloAttention({ dim: C, heads: 2, ...own });
  };

  it.each([{}, { redundancy: 2, decay: 'none' as const }])(
    'gives the same in segments, gradients included: %j',
    (own) => {
      const run = (segment: number, mask: Tensor, rotary: boolean) => {
        manualSeed(9);
        const made = layer({ ...own, segment });
        const x = sequence(B, T, C);
        x.requiresGrad = true;
        const residual = sequence(B, T, C, 4);
        const places = tensor(
          Int32Array.from({ length: T }, (_, t) => (3 * t) % 50),
          [T],
        );
        const rope = rotary ? new Rotary({ dim: made.rotaryDim }) : null;
        const y = made.forward(x, { mask, residual, rope, ...(rotary && { positions: places }) });
        sum(mul(y, sequence(B, T, C, 3))).backward();
        return [y, x.grad!, ...made.parameters().map((p) => p.grad!)].map(values);
      };
      const mask = tensor(
        Uint8Array.from({ length: B * T }, (_, i) => Number(i % 11 > 1)),
        [B, T],
        { dtype: 'bool' },
      );
      for (const rotary of [false, true]) {
        const whole = run(0, mask, rotary);
        for (const segment of [8, 29, 1])
          run(segment, mask, rotary).forEach((piece, i) => {
            const size = Math.max(1, ...whole[i]!.map(Math.abs));
            expect(worst(piece, whole[i]!) / size).toBeLessThan(5e-6);
          });
      }
    },
  );

  it.each([{}, { gate: false, decay: 'none' as const, phases: 'none' as const }])(
    'is its formula in complex numbers, in Float64: %j',
    (own) => {
      const [T, H, F] = [11, 2, 4];
      const made = layer(own);
      const x = sequence(1, T, C);
      const [q, k, v] = made.qkv.split(made.qkv.heads(x)).map(values) as [
        Float32Array,
        Float32Array,
        Float32Array,
      ];
      const logits = made.decay && values(made.decay.forward(x));
      const opened = made.gate && values(made.gate.forward(x));
      const o = new Float64Array(T * H * 2 * F);
      for (let h = 0; h < H; h++)
        for (let f = 0; f < F; f++) {
          let [re, im, n] = [0, 0, 0];
          for (let t = 0; t < T; t++) {
            const at = (t * H + h) * 2 * F + f;
            // Unit phasors, turned by (f + ½) π / F a token.
            const phase = (a: Float32Array) =>
              Math.atan2(a[at + F]!, a[at]!) + (own.phases ? 0 : (t * (f + 0.5) * Math.PI) / F);
            const fade = logits ? (1 / (1 + Math.exp(-logits[(t * H + h) * F + f]!))) ** (1 / 16) : 1;
            const [cos, sin] = [Math.cos(phase(k)), Math.sin(phase(k))];
            re = fade * re + cos * v[at]! - sin * v[at + F]!;
            im = fade * im + cos * v[at + F]! + sin * v[at]!;
            n = fade ** 2 * n + 1;
            const [c, s] = [Math.cos(phase(q)), Math.sin(phase(q))];
            o[at] = (c * re + s * im) / Math.sqrt(n);
            o[at + F] = (c * im - s * re) / Math.sqrt(n);
          }
        }
      const want = Float32Array.from(o, (u, e) => {
        const from = e - (e % (2 * F));
        const square = dot(o.subarray(from, from + 2 * F), o.subarray(from, from + 2 * F)) / (2 * F);
        const g = opened ? opened[e]! / (1 + Math.exp(-opened[e]!)) : 1;
        return (u / Math.sqrt(square + 1e-6)) * g;
      });
      const back = values(made.out.forward(tensor(want, [1, T, H * 2 * F])));
      expect(worst(values(made.forward(x)), back)).toBeLessThan(1e-5);
    },
  );

  it('draws the same in a segment that is computed again', () => {
    const made = layer({ dropout: 0.5, segment: 8 });
    const x = sequence(B, T, C);
    const y = made.forward(x);
    const dropped = values(y).map((v) => Number(v !== 0));
    sum(y).backward();
    // The bias of the projection back gains 2 for every element that was kept.
    const bias = values((made.out as unknown as { bias: Tensor & { grad: Tensor } }).bias.grad);
    bias.forEach((g, c) => {
      const kept = dropped.filter((_, i) => i % C === c).reduce((s, v) => s + v, 0);
      expect(g).toBeCloseTo(2 * kept, 3);
    });
  });

  it('holds the bytes of one segment', async () => {
    const peak = async (segment: number) => {
      using mine = new Runtime(cpu.options);
      useRuntime(mine);
      const made = new HoloAttention({ dim: 16, heads: 1, segment });
      const x = sequence(1, 8192, 16);
      await mine.sync();
      scope(() => made.forward(x).backward(x));
      await mine.sync();
      return mine.memory().host.peak;
    };
    const [whole, pieces] = [await peak(0), await peak(512)];
    useRuntime(runtime);
    const unit = 8192 * 16 * 4;
    // x and y, then little more than the gradient that is asked for: of parameters alone here.
    expect(pieces).toBeLessThan(4 * unit);
    expect(whole).toBeGreaterThan(9 * unit);
  });

  it('mixes content: what one token holds shows in later ones, and not along their own values', () => {
    const made = layer({ decay: 'none', gate: false });
    const before = noise(T * C);
    const after = before.map((v, i) => (Math.floor(i / C) === 3 ? -v : v));
    const [y, z] = [before, after].map((v) => values(made.forward(tensor(v, [1, T, C]))));
    const row = (a: Float32Array, t: number) => a.subarray(t * C, (t + 1) * C);
    for (const t of [3, 4, T - 1]) expect(worst(row(y!, t), row(z!, t))).toBeGreaterThan(1e-3);
  });

  it('turns its frequencies so that distances are told apart', () => {
    const F = 6;
    const table = values(layer({ headDim: 2 * F }).turns as Tensor);
    const overlap = (distance: number) =>
      Array.from({ length: F }, (_, f) => table[(distance * F + f) * 2]!).reduce((s, c) => s + c, 0);
    expect(overlap(0)).toBeCloseTo(F, 5);
    for (let distance = 1; distance < 2 * F; distance++) expect(overlap(distance)).toBeCloseTo(0, 5);
    expect(layer({ phases: 'none' }).turns).toBeNull();
  });

  it('permutes by its seed', () => {
    const order = (own: object) => (layer({ redundancy: 2, ...own }).order as Tensor).dataSync();
    expect(order({ seed: 1, headDim: 32 })).toEqual(order({ seed: 1, headDim: 32 }));
    expect(order({ seed: 1, headDim: 32 })).not.toEqual(order({ seed: 2, headDim: 32 }));
    // Each copy's queries and keys are all of its head's.
    const rows = order({ seed: 1, headDim: 32 });
    expect([...new Set(rows)]).toHaveLength(3 * 64);
    const whole = [...rows.subarray(32, 64)].sort((a, b) => a - b);
    expect(whole).toEqual(Array.from({ length: 32 }, (_, i) => i));
  });

  it('refuses by name what is no complex number', async () => {
    const refuses = async (fn: () => unknown, says: RegExp) =>
      expectTyped(await failureOf(fn), { code: 'ATTN_ARGUMENT', says });
    await refuses(() => layer({ headDim: 5 }), /HoloAttention.*headDim is 5/);
    await refuses(() => layer({ redundancy: 17 }), /HoloAttention.*redundancy is 17/);
    await refuses(() => layer({ decay: 'some' }), /HoloAttention.*decay is 'some'/);
    await refuses(() => layer({ segment: -1 }), /HoloAttention.*segment is -1/);
    const x = sequence(1, 3, C);
    await refuses(
      () => layer().forward(x, { rope: new Rotary({ dim: 8, interleaved: true }) }),
      /interleaved/,
    );
    await refuses(() => layer().forward(x, { rope: new Rotary({ dim: 4 }) }), /turns 4 channels of 8/);
  });
});
