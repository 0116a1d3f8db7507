/**
 * A tensor: a spec (shape and dtype) over a buffer of a runtime. Values are immutable; ops make new tensors, and
 * `reshape` shares the buffer. Methods for the ops are added by ops/methods.ts.
 */
import { ArgumentError, DisposedError, ShapeError } from '../runtime/errors.js';
import { runtime as currentRuntime, Runtime } from '../runtime/runtime.js';
import { allocateArray, checkDType, type DType, decode, encode, type TypedArray } from './dtype.js';
import { brand, enroll } from './scope.js';
import { checkShape, describe, MAX_RANK, type Shape, type Spec, show, sizeOf, spec } from './shape.js';

/** A buffer that several tensors may share, or a view of a part of another one. */
export class Storage {
  references = 1;
  #version = 0;
  constructor(
    readonly runtime: Runtime,
    readonly buffer: number,
    readonly bytes: number,
    /** The storage whose bytes a view names: it lives as long as the view. */
    readonly parent?: Storage,
  ) {
    if (parent) parent.references++;
  }
  /** Changes in place so far: what autograd saved must still be what it was. */
  get version(): number {
    return this.parent ? this.parent.version : this.#version;
  }
  changed(): void {
    if (this.parent) this.parent.changed();
    else this.#version++;
  }
  release(): void {
    if (--this.references > 0) return;
    this.runtime.freeBuffer(this.buffer);
    this.parent?.release();
  }
}

/** Where a tensor hangs in the graph of gradients: autograd makes these, and a tensor lets go of its own when it ends. */
export interface Edge {
  release(): void;
}

/** Backstop for tensors that nobody disposes and no scope owns. */
const collected = new FinalizationRegistry<{ storage: Storage; edge: Edge | undefined }>(
  ({ storage, edge }) => {
    storage.runtime.tensors--;
    storage.runtime.heldByCollector(-storage.bytes);
    storage.release();
    edge?.release();
  },
);

type Reshaped = (from: Tensor, to: Tensor) => void;
let onReshape: Reshaped | undefined;

/** Tells autograd of reshapes, the one operation on tensors that is not an op. */
export function setReshapeObserver(observer: Reshaped): void {
  onReshape = observer;
}

export type NestedArray = number | boolean | readonly NestedArray[];

export class Tensor {
  readonly spec: Spec;
  readonly [brand] = true;
  #storage: Storage | undefined;
  #registered = false;
  #edge: Edge | undefined;

  /** For ops: wraps a fresh buffer, or shares a storage, that of another tensor for one. */
  constructor(spec: Spec, source: { runtime: Runtime; buffer: number } | Tensor | Storage) {
    this.spec = spec;
    const shared = source instanceof Tensor ? source.storage('reshape', 'x') : source;
    if (shared instanceof Storage) {
      shared.references++;
      this.#storage = shared;
    } else this.#storage = new Storage(shared.runtime, shared.buffer, spec.bytes);
    this.#storage.runtime.tensors++;
    if (!enroll(this)) this.unscoped();
  }

  get shape(): Shape {
    return this.spec.shape;
  }
  get dtype(): DType {
    return this.spec.dtype;
  }
  get rank(): number {
    return this.spec.rank;
  }
  /** Elements. */
  get size(): number {
    return this.spec.size;
  }
  get disposed(): boolean {
    return this.#storage === undefined;
  }
  get runtime(): Runtime {
    return this.storage('runtime', 'x').runtime;
  }

  /** The live storage, or DisposedError naming the op and the argument that needed it. */
  storage(op: string, argument: string): Storage {
    if (!this.#storage)
      throw new DisposedError(`'${argument}' ${show(this.shape, this.dtype)} was disposed`, {
        op,
        hint: 'a scope disposes what it does not return; use keep(t) or return the tensor',
      });
    return this.#storage;
  }

  /** For autograd: the tensor's place in the graph. */
  get edge(): Edge | undefined {
    return this.#edge;
  }
  set edge(edge: Edge | undefined) {
    this.#edge?.release();
    this.#edge = edge;
    if (!this.#registered || !this.#storage) return;
    collected.unregister(this);
    collected.register(this, { storage: this.#storage, edge }, this);
  }

  /** For arenas: the same tensor over a view of another storage; its values move with `copy`, not by this. */
  rebase(storage: Storage): void {
    const before = this.storage('rebase', 'x');
    storage.references++;
    this.#storage = storage;
    before.release();
    if (!this.#registered) return;
    storage.runtime.heldByCollector(storage.bytes - before.bytes);
    collected.unregister(this);
    collected.register(this, { storage, edge: this.#edge }, this);
  }

  /** Ends this tensor; its buffer goes with the last tensor that shares it. Safe to call twice. */
  dispose(): void {
    const storage = this.#storage;
    if (!storage) return;
    this.#storage = undefined;
    if (this.#registered) {
      collected.unregister(this);
      storage.runtime.heldByCollector(-storage.bytes);
    }
    storage.runtime.tensors--;
    storage.release();
    this.#edge?.release();
    this.#edge = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The tensor belongs to no scope: the garbage collector is its backstop. */
  unscoped(): void {
    if (this.#registered || !this.#storage) return;
    this.#registered = true;
    this.#storage.runtime.heldByCollector(this.#storage.bytes);
    collected.register(this, { storage: this.#storage, edge: this.#edge }, this);
  }

  /** The values in a fresh typed array (halves as raw 16-bit words). The JavaScript thread goes on meanwhile. */
  async data(): Promise<TypedArray> {
    return this.#read('data');
  }

  /** As `data`, but waits. */
  dataSync(): TypedArray {
    return this.#readSync('dataSync');
  }

  /** The values as nested arrays of numbers. */
  async array(): Promise<NestedArray> {
    return nest(decode(this.dtype, await this.#read('array')), this.shape);
  }

  arraySync(): NestedArray {
    return nest(decode(this.dtype, this.#readSync('arraySync')), this.shape);
  }

  /** The value of a tensor with one element. */
  async item(): Promise<number> {
    this.#single();
    return decode(this.dtype, await this.#read('item'))[0]!;
  }

  itemSync(): number {
    this.#single();
    return decode(this.dtype, this.#readSync('itemSync'))[0]!;
  }

  async #read(op: string): Promise<TypedArray> {
    const { runtime, buffer } = this.storage(op, 'x');
    const out = allocateArray(this.dtype, this.size);
    await runtime.read(buffer, out);
    return out;
  }

  #readSync(op: string): TypedArray {
    const { runtime, buffer } = this.storage(op, 'x');
    const out = allocateArray(this.dtype, this.size);
    runtime.readSync(buffer, out);
    return out;
  }

  #single(): void {
    if (this.size !== 1)
      throw new ShapeError(`needs one element but the tensor is ${show(this.shape, this.dtype)}`, {
        op: 'item',
        hint: 'data() and array() read all of them',
      });
  }

  /** The same values in another shape, without a copy; one size may be -1. */
  reshape(shape: Shape): Tensor {
    const reshaped = new Tensor(spec(resolveReshape(this.spec, shape), this.dtype), this);
    if (this.#edge) onReshape?.(this, reshaped);
    return reshaped;
  }

  toString(): string {
    return `Tensor(${show(this.shape, this.dtype)}${this.disposed ? ', disposed' : ''})`;
  }
}

function resolveReshape(from: Spec, wanted: Shape): Shape {
  const fail = (why: string): never => {
    throw new ShapeError(`cannot turn ${show(from.shape, from.dtype)} into [${wanted}]: ${why}`, {
      op: 'reshape',
      hint: `give sizes whose product is ${from.size}; one may be -1`,
    });
  };
  const free = Array.isArray(wanted) ? wanted.indexOf(-1) : -1;
  const dims = [...checkShape(free < 0 ? wanted : wanted.map((d, i) => (i === free ? 1 : d)), 'reshape')];
  if (free >= 0) {
    const rest = sizeOf(dims);
    if (rest === 0 || from.size % rest !== 0) fail(`${from.size} elements do not divide by ${rest}`);
    dims[free] = from.size / rest;
  }
  if (sizeOf(dims) !== from.size) fail(`${from.size} elements are not ${sizeOf(dims)}`);
  return dims;
}

/**
 * A tensor with a copy of `values`: a typed array or (nested) numbers.
 * @param shape default: the nesting of the arrays, or [length].
 * @param options.dtype default: that of the typed array (Uint16Array needs it said), bool for booleans, else float32.
 */
export function tensor(
  values: NestedArray | TypedArray | Float64Array,
  shape?: Shape,
  options: { dtype?: DType; runtime?: Runtime } = {},
): Tensor {
  const op = 'tensor';
  if (typeof options !== 'object' || options === null)
    throw new ArgumentError(`the options are ${describe(options)}`, { op, hint: 'for example { dtype }' });
  const flat: number[] = [];
  let found: Shape;
  let dtype = options.dtype === undefined ? undefined : checkDType(options.dtype, op);
  let raw: TypedArray | undefined;
  if (ArrayBuffer.isView(values)) {
    const own = dtypeOfArray(values);
    dtype ??= own;
    if (!dtype)
      throw new ArgumentError('a Uint16Array holds float16 or bfloat16: say which', {
        op,
        hint: '{ dtype }',
      });
    found = [values.length];
    const half = dtype === 'float16' || dtype === 'bfloat16';
    const stored = own === dtype && !(values instanceof Float64Array);
    raw = stored || (half && values instanceof Uint16Array) ? (values as TypedArray) : encode(dtype, values);
  } else {
    found = flatten(values, flat);
    dtype ??= allBooleans(values) ? 'bool' : 'float32';
    raw = encode(dtype, flat);
  }
  const dims = checkShape(shape === undefined ? found : shape, op);
  if (sizeOf(dims) !== raw.length)
    throw new ShapeError(`${raw.length} values do not fill ${show(dims, dtype)} (${sizeOf(dims)} elements)`, {
      op,
      hint: 'give a shape of as many elements, or none',
    });
  const runtime = options.runtime ?? currentRuntime();
  if (!(runtime instanceof Runtime))
    throw new ArgumentError(`runtime is ${describe(runtime)}`, { op, hint: 'make one with new Runtime()' });
  return new Tensor(spec(dims, dtype), { runtime, buffer: runtime.upload(raw) });
}

function dtypeOfArray(values: ArrayBufferView): DType | undefined {
  if (values instanceof Float32Array || values instanceof Float64Array) return 'float32';
  if (values instanceof Int32Array) return 'int32';
  if (values instanceof Uint8Array || values instanceof Uint8ClampedArray) return 'uint8';
  if (values instanceof Uint16Array) return undefined;
  throw new ArgumentError(`cannot make a tensor of a ${describe(values)}`, {
    op: 'tensor',
    hint: 'use Float32Array, Int32Array, Uint16Array, Uint8Array, Float64Array or arrays of numbers',
  });
}

/** Appends the numbers in order and returns the shape; ragged nesting is an error. */
function flatten(values: NestedArray, into: number[], depth = 0): Shape {
  if (typeof values === 'number' || typeof values === 'boolean') {
    into.push(Number(values));
    return [];
  }
  if (!Array.isArray(values))
    throw new ArgumentError(`expected numbers, nested arrays or a typed array but got ${describe(values)}`, {
      op: 'tensor',
      hint: 'for example tensor([[1, 2], [3, 4]])',
    });
  if (depth === MAX_RANK)
    throw new ShapeError(`arrays are nested more than ${MAX_RANK} deep`, {
      op: 'tensor',
      hint: `a tensor has at most ${MAX_RANK} axes`,
    });
  let inner: Shape | undefined;
  for (const item of values) {
    const shape = flatten(item, into, depth + 1);
    inner ??= shape;
    if (inner.length !== shape.length || inner.some((d, i) => d !== shape[i]))
      throw new ShapeError(`ragged nesting: one row is ${show(inner)}, another ${show(shape)}`, {
        op: 'tensor',
        hint: 'rows are equally long: pad them',
      });
  }
  return [values.length, ...(inner ?? [])];
}

const allBooleans = (values: NestedArray): boolean =>
  typeof values === 'boolean' || (Array.isArray(values) && values.length > 0 && values.every(allBooleans));

function nest(flat: ArrayLike<number>, shape: Shape): NestedArray {
  let at = 0;
  const build = (axis: number): NestedArray =>
    axis === shape.length ? flat[at++]! : Array.from({ length: shape[axis]! }, () => build(axis + 1));
  return build(0);
}
