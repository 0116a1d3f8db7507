/** The arithmetic of shapes, by its laws. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  broadcastShapes,
  broadcastStrides,
  checkShape,
  collapse,
  describe as describeValue,
  normalizeAxes,
  normalizeAxis,
  show,
  sizeOf,
  spec,
  stridesOf,
} from '../../src/tensor/shape.js';
import { expectTyped, failureOf } from '../support/errors.js';

const shapes = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 5 });
/** A shape, and others that broadcast with it: some axes set to 1, leading ones left out. */
const broadcasting = (count: number) =>
  shapes.chain((full) =>
    fc.tuple(
      fc.constant(full),
      fc.array(
        fc
          .tuple(
            fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }),
            fc.integer({ min: 0, max: full.length }),
          )
          .map(([ones, drop]) => full.map((d, i) => (ones[i] ? 1 : d)).slice(drop)),
        { minLength: count, maxLength: count },
      ),
    ),
  );
const runs = { seed: 3, numRuns: 400 };
const code = (code: string, op = 'x') => ({ code, op });
const attempt = (fn: () => unknown) => {
  try {
    return fn();
  } catch {
    return 'refused';
  }
};

/** All index tuples of a shape, in row-major order. */
function* indices(shape: readonly number[]): Generator<number[]> {
  if (sizeOf(shape) === 0) return;
  const index = shape.map(() => 0);
  for (;;) {
    yield [...index];
    let axis = shape.length - 1;
    while (axis >= 0 && ++index[axis]! === shape[axis]) index[axis--] = 0;
    if (axis < 0) return;
  }
}
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, v, i) => sum + v * b[i]!, 0);

describe('broadcastShapes', () => {
  it('is commutative, associative and idempotent, also in what it refuses', () => {
    fc.assert(
      fc.property(shapes, shapes, shapes, (a, b, c) => {
        const both = attempt(() => broadcastShapes([a, b], 'x'));
        expect(attempt(() => broadcastShapes([b, a], 'x'))).toEqual(both);
        const all = attempt(() => broadcastShapes([a, b, c], 'x'));
        expect(attempt(() => broadcastShapes([broadcastShapes([a, b], 'x'), c], 'x'))).toEqual(all);
        expect(broadcastShapes([a, a], 'x')).toEqual(a);
      }),
      runs,
    );
  });

  it('has the scalar, and any row of ones that is no longer, as identity', () => {
    fc.assert(
      fc.property(shapes, fc.nat(5), (a, n) => {
        const ones = new Array<number>(Math.min(n, a.length)).fill(1);
        expect(broadcastShapes([a, []], 'x')).toEqual(a);
        expect(broadcastShapes([ones, a], 'x')).toEqual(a);
      }),
      runs,
    );
  });

  it('stretches to the whole, and its strides visit the elements that NumPy would', () => {
    fc.assert(
      fc.property(broadcasting(2), ([full, [a, b]]) => {
        const target = broadcastShapes([full, a!, b!], 'x');
        expect(target).toEqual(full);
        const strides = broadcastStrides(a!, full);
        for (const index of indices(full)) {
          const own = index.slice(full.length - a!.length).map((v, i) => (a![i] === 1 ? 0 : v));
          expect(dot(index, strides)).toBe(dot(own, stridesOf(a!)));
        }
      }),
      runs,
    );
  });

  it.each([
    [[2], [3]],
    [[0], [2]],
    [
      [2, 3],
      [3, 2],
    ],
    [
      [4, 1],
      [3, 4, 2],
      [5, 1],
    ],
  ])('refuses %j and tells all of them', async (...list) => {
    const error = await failureOf(() => broadcastShapes(list, 'x'));
    expectTyped(error, code('ATTN_SHAPE'));
    for (const shape of list) expect((error as Error).message).toContain(show(shape));
  });
});

describe('collapse', () => {
  it('visits the same offsets of every operand in the same order, with no axis to spare', () => {
    fc.assert(
      fc.property(broadcasting(3), ([full, operands]) => {
        const strides = operands.map((s) => broadcastStrides(s, full));
        const merged = collapse(full, strides);
        const walk = (shape: readonly number[], all: readonly (readonly number[])[]) =>
          Array.from(indices(shape), (index) => all.map((s) => dot(index, s)));
        expect(walk(merged.shape, merged.strides)).toEqual(walk(full, strides));
        expect(merged.shape).not.toContain(1);
        for (
          let i = 1;
          i < merged.shape.length;
          i++ // no two neighbours walk as one
        )
          expect(merged.strides.every((s) => s[i - 1] === s[i]! * merged.shape[i]!)).toBe(false);
      }),
      runs,
    );
  });

  it('makes one axis of a contiguous tensor, and none of a scalar', () => {
    expect(collapse([4, 5, 6], [stridesOf([4, 5, 6])])).toEqual({ shape: [120], strides: [[1]] });
    expect(collapse([1, 1], [[1, 1]])).toEqual({ shape: [], strides: [[]] });
  });
});

describe('axes', () => {
  it('negative ones count from the end; all, sorted, once', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), (rank) => {
        for (let a = 0; a < rank; a++) {
          expect(normalizeAxis(a, rank, 'x')).toBe(a);
          expect(normalizeAxis(a - rank, rank, 'x')).toBe(a);
        }
        expect(normalizeAxes(null, rank, 'x')).toEqual(Array.from({ length: rank }, (_, i) => i));
        expect(normalizeAxes(undefined, rank, 'x')).toEqual(normalizeAxes(null, rank, 'x'));
        expect(normalizeAxes(-1, rank, 'x')).toEqual([rank - 1]);
      }),
      runs,
    );
    expect(normalizeAxes([-1, 0], 3, 'x')).toEqual([0, 2]);
    expect(normalizeAxes([], 3, 'x')).toEqual([]);
    expect(normalizeAxes(null, 0, 'x')).toEqual([]);
  });

  it.each([3, -4, 0.5, Number.NaN, '0', null, undefined, [0]])('%j is no axis of rank 3', async (axis) => {
    expectTyped(await failureOf(() => normalizeAxis(axis, 3, 'x')), code('ATTN_ARGUMENT'));
  });

  it('are refused where named twice, and where there are none', async () => {
    expectTyped(await failureOf(() => normalizeAxes([1, -2], 3, 'x')), code('ATTN_ARGUMENT'));
    expectTyped(await failureOf(() => normalizeAxis(0, 0, 'x')), code('ATTN_ARGUMENT'));
  });
});

describe('checkShape', () => {
  it('takes arrays of sizes, typed ones too, and copies them', () => {
    const given = [2, 0, 3];
    const checked = checkShape(given, 'x');
    expect(checked).toEqual(given);
    expect(checked).not.toBe(given);
    expect(checkShape(new Int32Array([2, 3]), 'x')).toEqual([2, 3]);
    expect(checkShape([2 ** 31 - 1], 'x')).toEqual([2 ** 31 - 1]);
    expect(checkShape([], 'x')).toEqual([]);
  });

  it.each([
    [[-1]],
    [[1.5]],
    [[Number.NaN]],
    [[Number.POSITIVE_INFINITY]],
    [[2 ** 31]],
    [['2']],
    [[null]],
    [[undefined]],
    [[[2]]],
    [[1, 1, 1, 1, 1, 1, 1, 1, 1]],
    [2],
    ['23'],
    [null],
    [undefined],
    [{ length: 1, 0: 2 }],
  ])('refuses %j', async (shape) => {
    expectTyped(await failureOf(() => checkShape(shape, 'x')), code('ATTN_SHAPE'));
  });

  it('refuses holes', async () => {
    expectTyped(await failureOf(() => checkShape(new Array(2), 'x')), code('ATTN_SHAPE'));
  });
});

describe('specs', () => {
  it('are one object for equal shapes and dtypes, and different ones otherwise', () => {
    fc.assert(
      fc.property(shapes, shapes, (a, b) => {
        expect(spec([...a], 'float32')).toBe(spec(a, 'float32'));
        expect(spec(a, 'float32') === spec(b, 'float32')).toBe(`${a}` === `${b}` && a.length === b.length);
        expect(spec(a, 'int32')).not.toBe(spec(a, 'float32'));
        const s = spec(a, 'float16');
        expect([s.rank, s.size, s.bytes]).toEqual([a.length, sizeOf(a), 2 * sizeOf(a)]);
        expect(Object.isFrozen(s.shape)).toBe(true);
      }),
      runs,
    );
    expect(spec([], 'float32')).not.toBe(spec([0], 'float32'));
  });

  it('beyond what memory can address are refused', async () => {
    const error = await failureOf(() => spec([2 ** 30, 2 ** 30], 'float32'));
    expect(expectTyped(error).message).toContain('float32[1073741824,1073741824]');
  });

  it('and other values are told in few words', () => {
    expect(show([2, 3], 'bool')).toBe('bool[2,3]');
    expect(show([])).toBe('[]');
    expect(
      [null, undefined, 3, 'x', Symbol('s'), [], new Date(), Object.create(null)].map(describeValue),
    ).toEqual(['null', 'undefined', 'number 3', 'string x', 'symbol Symbol(s)', 'Array', 'Date', 'object']);
  });
});
