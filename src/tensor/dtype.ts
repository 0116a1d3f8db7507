/** Element types: their codes are shared with native/engine/types.h and shaders/lib/storage.glsl. */
import { DTypeError } from '../runtime/errors.js';

export type DType = 'float32' | 'float16' | 'bfloat16' | 'int32' | 'uint8' | 'bool';

export const dtypes = ['float32', 'float16', 'bfloat16', 'int32', 'uint8', 'bool'] as const;

/** The integer that stands for a dtype in native code and in shaders. */
export const dtypeCode: Record<DType, number> = {
  float32: 0,
  float16: 1,
  bfloat16: 2,
  int32: 3,
  uint8: 4,
  bool: 5,
};

/** Bytes of one element. */
export const dtypeBytes: Record<DType, number> = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int32: 4,
  uint8: 1,
  bool: 1,
};

/** Elements to a 32-bit word of GPU storage. */
export const perWord = (dtype: DType): number => 4 / dtypeBytes[dtype];

export const floatDTypes = ['float32', 'float16', 'bfloat16'] as const;
export const isFloat = (dtype: DType): boolean => (floatDTypes as readonly DType[]).includes(dtype);

export type TypedArray = Float32Array | Int32Array | Uint16Array | Uint8Array;

/** A fresh array of the dtype's storage type. Halves come as raw bits: Node 20 has no Float16Array. */
export function allocateArray(dtype: DType, length: number): TypedArray {
  switch (dtype) {
    case 'float32':
      return new Float32Array(length);
    case 'int32':
      return new Int32Array(length);
    case 'float16':
    case 'bfloat16':
      return new Uint16Array(length);
    default:
      return new Uint8Array(length);
  }
}

export function checkDType(value: unknown, op: string): DType {
  if ((dtypes as readonly unknown[]).includes(value)) return value as DType;
  throw new DTypeError(`unknown dtype ${String(value)}`, { op, hint: `use one of ${dtypes.join(', ')}` });
}

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** The bits of a number as float32: how floats travel in push constants. */
export function floatBits(x: number): number {
  f32[0] = x;
  return u32[0]!;
}

/** float32 → bfloat16 bits, rounding to nearest even; a NaN stays a quiet NaN. */
export function toBfloat16(x: number): number {
  f32[0] = x;
  const u = u32[0]!;
  if ((u & 0x7fffffff) > 0x7f800000) return (u >>> 16) | 0x40;
  return ((u + 0x7fff + ((u >>> 16) & 1)) >>> 16) & 0xffff;
}

export function fromBfloat16(bits: number): number {
  u32[0] = bits << 16;
  return f32[0]!;
}

/** Number → IEEE half bits, rounding to nearest even (from the double: no double rounding). */
export function toFloat16(x: number): number {
  if (Number.isNaN(x)) return 0x7e00;
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const a = Math.abs(x);
  if (a >= 65520) return sign | 0x7c00;
  if (a < 2 ** -14) return sign | roundHalfEven(a * 2 ** 24); // subnormal: units of 2^-24 (1024 carries into normal)
  const exponent = Math.floor(Math.log2(a));
  const e = a >= 2 ** (exponent + 1) ? exponent + 1 : a < 2 ** exponent ? exponent - 1 : exponent;
  const mantissa = roundHalfEven((a / 2 ** e - 1) * 1024); // 1024 carries into the exponent
  return sign | (((e + 15) << 10) + mantissa);
}

export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

/** Decodes storage to numbers: what `array()` and the Float64 reference read. */
export function decode(dtype: DType, raw: TypedArray): Float64Array {
  if (dtype === 'float16') return Float64Array.from(raw, fromFloat16);
  if (dtype === 'bfloat16') return Float64Array.from(raw, fromBfloat16);
  return Float64Array.from(raw);
}

/** Encodes numbers to storage, rounding to the dtype. Ints wrap modulo 2^32, bools become 0 or 1. */
export function encode(dtype: DType, values: ArrayLike<number>): TypedArray {
  const out = allocateArray(dtype, values.length);
  if (dtype === 'float16') for (let i = 0; i < out.length; i++) out[i] = toFloat16(values[i]!);
  else if (dtype === 'bfloat16') for (let i = 0; i < out.length; i++) out[i] = toBfloat16(values[i]!);
  else if (dtype === 'bool') for (let i = 0; i < out.length; i++) out[i] = values[i] ? 1 : 0;
  else out.set(values);
  return out;
}
