/** Shapes and the arithmetic on them that several ops share. All tensors are contiguous, row-major. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { type DType, dtypeBytes, dtypeCode } from './dtype.js';

export type Shape = readonly number[];

/** Bytes that a tensor may have: more than any machine holds, and far below where doubles stop being exact. */
const MAX_BYTES = 2 ** 46;

/** Kernels index an axis with 32-bit signed integers. */
const MAX_DIMENSION = 2 ** 31 - 1;

export const MAX_RANK = 8;

/**
 * Shape and dtype of a tensor, interned: equal specs are one object, so `id` keys the memo of prepared ops.
 */
export interface Spec {
  readonly id: number;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly rank: number;
  /** Elements. */
  readonly size: number;
  /** Bytes of storage, unpadded. */
  readonly bytes: number;
}

const interned = new Map<string, Spec>();

/** The interned spec of a checked shape and dtype. */
export function spec(shape: Shape, dtype: DType): Spec {
  const key = `${dtypeCode[dtype]}:${shape}`;
  let found = interned.get(key);
  if (!found) {
    const widest = Math.max(0, ...shape);
    if (widest > MAX_DIMENSION)
      throw new ShapeError(`a dimension of ${show(shape, dtype)} is ${widest}`, {
        hint: `sizes go up to ${MAX_DIMENSION}`,
      });
    const size = sizeOf(shape);
    const bytes = size * dtypeBytes[dtype];
    if (!(bytes <= MAX_BYTES))
      throw new ShapeError(`${show(shape, dtype)} would need ${bytes} bytes`, {
        hint: `a tensor holds at most ${MAX_BYTES} bytes`,
      });
    // From 1 on: ops/record.ts packs the ids of a pair into one number, which must not look like a single id.
    const id = interned.size + 1;
    found = { id, shape: Object.freeze([...shape]), dtype, rank: shape.length, size, bytes };
    interned.set(key, found);
  }
  return found;
}

export const sizeOf = (shape: Shape): number => shape.reduce((n, d) => n * d, 1);

/** `float32[8,128]`: how errors and logs name a spec. */
export const show = (shape: Shape, dtype: DType | '' = ''): string => `${dtype}[${shape.join(',')}]`;

/** Checks a shape that came from outside. */
export function checkShape(shape: unknown, op: string): Shape {
  if (!Array.isArray(shape) && !(ArrayBuffer.isView(shape) && !(shape instanceof DataView)))
    throw new ShapeError(`expected a shape (array of sizes) but got ${describe(shape)}`, {
      op,
      hint: 'for example [2, 3]',
    });
  const dims = Array.from(shape as ArrayLike<number>);
  for (const d of dims)
    if (!Number.isInteger(d) || d < 0 || d > MAX_DIMENSION)
      throw new ShapeError(`dimension ${String(d)} of shape [${dims.join(',')}] is not a size`, {
        op,
        hint: `sizes are integers from 0 to ${MAX_DIMENSION}`,
      });
  if (dims.length > MAX_RANK)
    throw new ShapeError(`rank ${dims.length} is more than the ${MAX_RANK} supported`, {
      op,
      hint: 'merge axes with reshape',
    });
  return dims;
}

/** A short description of any value for an error message. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'object') return `${value.constructor?.name ?? 'object'}`;
  if (typeof value === 'function') return `function ${value.name}`.trim();
  const text = String(value);
  return `${typeof value} ${text.length > 60 ? `${text.slice(0, 60)}…` : text}`;
}

/** Axis in [-rank, rank) to [0, rank). */
export function normalizeAxis(axis: unknown, rank: number, op: string): number {
  if (!Number.isInteger(axis) || (axis as number) < -rank || (axis as number) >= rank)
    throw new ArgumentError(`axis ${String(axis)} is outside a tensor of rank ${rank}`, {
      op,
      hint: rank === 0 ? 'a scalar has no axes' : `axes run from ${-rank} to ${rank - 1}`,
    });
  return (axis as number) < 0 ? (axis as number) + rank : (axis as number);
}

/** One axis, several, or all (undefined / null) → sorted, unique, in [0, rank). */
export function normalizeAxes(
  axes: number | readonly number[] | null | undefined,
  rank: number,
  op: string,
): number[] {
  if (axes === undefined || axes === null) return Array.from({ length: rank }, (_, i) => i);
  const list = (Array.isArray(axes) ? axes : [axes]).map((a) => normalizeAxis(a, rank, op));
  const unique = [...new Set(list)].sort((a, b) => a - b);
  if (unique.length !== list.length)
    throw new ArgumentError(`axes [${axes}] name an axis twice`, {
      op,
      hint: `of rank ${rank}, negative ones count from the end`,
    });
  return unique;
}

/** Row-major strides, in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let next = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = next;
    next *= shape[i]!;
  }
  return strides;
}

/** NumPy broadcasting of two or more shapes; sizes match from the right, 1 stretches. */
export function broadcastShapes(
  shapes: readonly Shape[],
  op: string,
  /** What the shapes are of, for the message. */
  whose = () => `shapes ${shapes.map((s) => show(s)).join(' and ')}`,
): Shape {
  const rank = Math.max(0, ...shapes.map((s) => s.length));
  const out = new Array<number>(rank).fill(1);
  for (const shape of shapes)
    for (let i = 0; i < shape.length; i++) {
      const at = rank - shape.length + i;
      const d = shape[i]!;
      if (d === out[at] || d === 1) continue;
      if (out[at] !== 1)
        throw new ShapeError(`${whose()} do not broadcast`, {
          op,
          hint: 'sizes, matched from the right, must be equal or 1',
        });
      out[at] = d;
    }
  return out;
}

/** Strides that walk `shape` as if it had been stretched to `target`: 0 on stretched axes. */
export function broadcastStrides(shape: Shape, target: Shape): number[] {
  const strides = stridesOf(shape);
  const lead = target.length - shape.length;
  return target.map((_, i) => (i < lead || shape[i - lead] === 1 ? 0 : strides[i - lead]!));
}

/**
 * Merges neighbouring axes that every operand walks as one, and drops axes of size 1: fewer loops and fewer
 * divisions. `strides` holds one list per operand; the result has the same form.
 */
export function collapse(
  shape: Shape,
  strides: readonly (readonly number[])[],
): { shape: number[]; strides: number[][] } {
  const outShape: number[] = [];
  const out: number[][] = strides.map(() => []);
  for (let i = 0; i < shape.length; i++) {
    if (shape[i] === 1) continue;
    const last = outShape.length - 1;
    if (last >= 0 && strides.every((s, k) => out[k]![last] === s[i]! * shape[i]!)) {
      outShape[last]! *= shape[i]!;
      for (let k = 0; k < strides.length; k++) out[k]![last] = strides[k]![i]!;
    } else {
      outShape.push(shape[i]!);
      for (let k = 0; k < strides.length; k++) out[k]!.push(strides[k]![i]!);
    }
  }
  return { shape: outShape, strides: out };
}
