/** Tensors of no device: what files hold. */
import { ArgumentError, FormatError } from '../runtime/errors.js';
import {
  allocateArray,
  checkDType,
  type DType,
  fromBfloat16,
  fromFloat16,
  type TypedArray,
} from '../tensor/dtype.js';
import { checkShape, describe, show, sizeOf } from '../tensor/shape.js';
import type { StateDict } from '../tensor/state-dict.js';
import { type Tensor, tensor } from '../tensor/tensor.js';

/** Row-major values; halves are raw 16-bit words, bools bytes of 0 and 1. */
export interface HostTensor {
  dtype: DType;
  shape: readonly number[];
  data: TypedArray;
}

/** A tensor whose values are asked for when they are written, and not kept. */
export interface TensorSource {
  dtype: DType;
  shape: readonly number[];
  read(): TypedArray | Promise<TypedArray>;
}

export const sourceOf = (t: Tensor): TensorSource => ({
  dtype: t.dtype,
  shape: t.shape,
  read: () => t.data(),
});

/** Reads tensors one by one. */
export async function toHost(dict: StateDict): Promise<Record<string, HostTensor>> {
  const host: [string, HostTensor][] = [];
  for (const [name, t] of Object.entries(dict))
    host.push([name, { dtype: t.dtype, shape: t.shape, data: await t.data() }]);
  return Object.fromEntries(host);
}

/** Copies on the current runtime: the caller's to dispose. */
export const fromHost = (tensors: Readonly<Record<string, HostTensor>>): StateDict =>
  Object.fromEntries(
    Object.entries(tensors).map(([name, { dtype, shape, data }]) => [name, tensor(data, shape, { dtype })]),
  );

/** The values as bytes, without a copy. */
export const bytesOf = ({ buffer, byteOffset, byteLength }: TypedArray): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** @throws ArgumentError, DTypeError or ShapeError where a tensor's parts do not fit each other */
export function checkHost(op: string, name: string, value: HostTensor): HostTensor {
  if (typeof value !== 'object' || value === null)
    throw new ArgumentError(`'${name}' is ${describe(value)}`, { op, hint: 'give { dtype, shape, data }' });
  const dtype = checkDType(value.dtype, op);
  const shape = checkShape(value.shape, op);
  const wanted = allocateArray(dtype, 0).constructor;
  if (value.data?.constructor !== wanted || value.data.length !== sizeOf(shape))
    throw new ArgumentError(
      `'${name}' is ${show(shape, dtype)}, its data ${describe(value.data)} of ${value.data?.length}`,
      { op, hint: `give ${wanted.name} of ${sizeOf(shape)}` },
    );
  return value;
}

/**
 * F64 as float32, or I64 as int32, little endian.
 * @param what names them in errors
 * @throws FormatError where a value would change
 */
export function narrowed(stored: 'F64' | 'I64', bytes: Uint8Array, what: string): TypedArray {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data = allocateArray(stored === 'F64' ? 'float32' : 'int32', bytes.length / 8);
  for (let i = 0; i < data.length; i++) {
    const x = stored === 'F64' ? view.getFloat64(8 * i, true) : view.getBigInt64(8 * i, true);
    data[i] = Number(x);
    if (typeof x === 'bigint' ? BigInt(data[i]!) !== x : !Object.is(data[i], x))
      throw new FormatError(
        `${what} is ${stored}, and ${x} is no ${stored === 'F64' ? 'float32' : 'int32'}`,
        {
          hint: 'convert it where the file is made',
        },
      );
  }
  return data;
}

const halves = { float16: fromFloat16, bfloat16: fromBfloat16 } as const;

/** Floats as float32: exact. Undefined for other dtypes. */
export function toFloat32({ dtype, data }: HostTensor): Float32Array | undefined {
  if (data instanceof Float32Array) return data;
  if (dtype !== 'float16' && dtype !== 'bfloat16') return undefined;
  const table = (tables[dtype] ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => halves[dtype](bits)));
  const out = new Float32Array(data.length);
  for (let i = 0; i < out.length; i++) out[i] = table[data[i]!]!;
  return out;
}

/** The value of every half. */
const tables: Partial<Record<DType, Float32Array>> = {};
