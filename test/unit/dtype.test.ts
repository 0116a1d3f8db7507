/** Halves against definitions of their own: every bit pattern, every rounding tie. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  allocateArray,
  checkDType,
  type DType,
  decode,
  dtypeBytes,
  dtypeCode,
  dtypes,
  encode,
  floatBits,
  fromBfloat16,
  fromFloat16,
  isFloat,
  perWord,
  toBfloat16,
  toFloat16,
} from '../../src/tensor/dtype.js';
import { expectTyped, failureOf } from '../support/errors.js';

/**
 * The two formats by their definition: (-1)^s 2^(e - bias) (1 + m / 2^bits), subnormals at e = 0, infinity and NaN at
 * the greatest e. `values` are the finite ones from 0 up: their place is their bit pattern.
 */
function format(exponentBits: number, mantissaBits: number) {
  const bias = 2 ** (exponentBits - 1) - 1;
  const top = 2 ** exponentBits - 1;
  const meaning = (bits: number): number => {
    const sign = bits >> (exponentBits + mantissaBits) ? -1 : 1;
    const e = (bits >> mantissaBits) & top;
    const m = bits & (2 ** mantissaBits - 1);
    if (e === top) return m ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    const unit = 2 ** (Math.max(e, 1) - bias - mantissaBits);
    return sign * (m + (e > 0 ? 2 ** mantissaBits : 0)) * unit;
  };
  const infinity = top << mantissaBits;
  const values = Array.from({ length: infinity }, (_, bits) => meaning(bits));
  /** The nearest of the sorted values, found by bisection; ties go to the even pattern; infinity is the next in line. */
  const nearest = (x: number): number => {
    const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
    const a = Math.abs(x);
    let low = 0;
    let high = infinity;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (values[middle]! <= a) low = middle;
      else high = middle;
    }
    const above = high === infinity ? 2 * values[infinity - 1]! - values[infinity - 2]! : values[high]!;
    const down = a - values[low]!;
    const up = above - a;
    return sign | (up < down || (up === down && low % 2 === 1) ? high : low);
  };
  return { meaning, nearest, infinity, values };
}

const f32 = Math.fround;
const cases = [
  // bfloat16 rounds what float32 holds: numbers pass through float32 first.
  {
    dtype: 'float16' as const,
    to: toFloat16,
    from: fromFloat16,
    ...format(5, 10),
    through: (x: number) => x,
  },
  { dtype: 'bfloat16' as const, to: toBfloat16, from: fromBfloat16, ...format(8, 7), through: f32 },
];

describe.each(cases)('$dtype', ({ dtype, to, from, meaning, nearest, infinity, values, through }) => {
  it('every bit pattern means what the format says, and comes back', () => {
    const wrong: number[] = [];
    for (let bits = 0; bits < 0x10000; bits++) {
      const value = from(bits);
      if (!Object.is(value, meaning(bits))) wrong.push(bits);
      const back = to(value);
      // NaNs may change their payload, not what they are.
      if (Number.isNaN(value) ? !Number.isNaN(from(back)) : back !== bits) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
  });

  it('rounds to nearest, ties to even, at every tie and beside it', () => {
    const wrong: number[] = [];
    for (let bits = 0; bits + 1 < infinity; bits++) {
      const tie = (values[bits]! + values[bits + 1]!) / 2;
      const beside = dtype === 'bfloat16' ? 2 ** -12 : 2 ** -40;
      for (const x of [tie, tie * (1 + beside), tie * (1 - beside), -tie])
        if (to(x) !== nearest(through(x))) wrong.push(x);
    }
    expect(wrong).toEqual([]);
  });

  it('rounds any number as its definition does', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.double({ noNaN: true }),
          fc.float({ noNaN: true }),
          fc.double({ min: -1e5, max: 1e5, noNaN: true }),
        ),
        (x) => {
          expect(to(x)).toBe(
            Number.isFinite(through(x)) ? nearest(through(x)) : x > 0 ? infinity : 0x8000 | infinity,
          );
        },
      ),
      { seed: 1, numRuns: 3000 },
    );
  });

  it('keeps NaN, the infinities, zeros and the ends of its range', () => {
    expect(from(to(Number.NaN))).toBeNaN();
    expect(to(Number.POSITIVE_INFINITY)).toBe(infinity);
    expect(to(Number.NEGATIVE_INFINITY)).toBe(0x8000 | infinity);
    expect([to(0), to(-0)]).toEqual([0, 0x8000]);
    const largest = values.at(-1)!;
    const step = largest - values.at(-2)!;
    expect(to(largest)).toBe(infinity - 1);
    expect(to(largest + step / 2)).toBe(infinity); // the tie beyond the last value goes to infinity
    expect(to(largest + step / 4)).toBe(infinity - 1);
    expect(to(values[1]!)).toBe(1); // the smallest subnormal
  });

  it('NaNs of float32 whose payload lies below stay NaN', () => {
    const bits = new Uint32Array([0x7f800001, 0xff800001, 0x7fffffff]);
    for (const x of new Float32Array(bits.buffer)) expect(from(to(x))).toBeNaN();
  });
});

describe('arrays of a dtype', () => {
  it('have the bytes and the code of their dtype', () => {
    for (const dtype of dtypes) {
      const array = allocateArray(dtype, 3);
      expect(array.length).toBe(3);
      expect(array.BYTES_PER_ELEMENT).toBe(dtypeBytes[dtype]);
      expect(perWord(dtype) * dtypeBytes[dtype]).toBe(4);
      expect(dtypes[dtypeCode[dtype]]).toBe(dtype);
      expect(isFloat(dtype)).toBe(dtype.includes('float'));
      expect(checkDType(dtype, 'x')).toBe(dtype);
    }
  });

  it('hold what they can hold', () => {
    const exact: Record<DType, fc.Arbitrary<number>> = {
      float32: fc.float({ noNaN: true }),
      float16: fc.integer({ min: 0, max: 0x7bff }).map(fromFloat16),
      bfloat16: fc.integer({ min: 0, max: 0x7f7f }).map(fromBfloat16),
      int32: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      uint8: fc.integer({ min: 0, max: 255 }),
      bool: fc.integer({ min: 0, max: 1 }),
    };
    for (const dtype of dtypes)
      fc.assert(
        fc.property(fc.array(exact[dtype], { maxLength: 40 }), (list) => {
          expect(decode(dtype, encode(dtype, list))).toEqual(Float64Array.from(list));
        }),
        { seed: 2, numRuns: 100 },
      );
  });

  it('wrap integers, and make bools of whatever is not 0', () => {
    expect([...encode('int32', [2 ** 31, -(2 ** 31) - 1, 2 ** 32 + 5, 1.9, -1.9])]).toEqual([
      -(2 ** 31),
      2 ** 31 - 1,
      5,
      1,
      -1,
    ]);
    expect([...encode('uint8', [256, -1, 3.7])]).toEqual([0, 255, 3]);
    expect([...encode('bool', [0, -0, 2, -1, 0.5, Number.POSITIVE_INFINITY])]).toEqual([0, 0, 1, 1, 1, 1]);
  });

  it('float bits travel as they are', () => {
    expect([1, -0, Number.POSITIVE_INFINITY, 2 ** -149].map(floatBits)).toEqual([
      0x3f800000, 0x80000000, 0x7f800000, 1,
    ]);
  });

  it.each([['float64'], [''], [null], [undefined], [3], [{}], ['toString']])(
    '%s is no dtype',
    async (value) => {
      expectTyped(await failureOf(() => checkDType(value, 'cast')), { code: 'ATTN_DTYPE', op: 'cast' });
    },
  );
});
