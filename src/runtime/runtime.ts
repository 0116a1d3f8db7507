/**
 * A runtime: one executor with its CPU team, at most one Vulkan device, and the block that is being recorded.
 *
 * Recording appends integers; `flush` hands the block to the executor. Buffers are numbers: `newBuffer` names one,
 * `freeBuffer` ends it, and the executor moves the end up to the last use.
 */
import type { Caps, Prepared } from './binding.js';
import { ArgumentError, DeviceError, DisposedError, fromNative, OutOfMemoryError } from './errors.js';
import { log } from './log.js';
import {
  type EngineStats,
  type Explanation,
  type NativeEngine,
  native,
  type ProfileRow,
  type Route,
  type Routing,
} from './native.js';
import { checkRoute, type RuntimeOptions, resolve } from './options.js';

export { type RuntimeOptions, survey } from './options.js';

const FREE = -1;
const ADOPT = -2;
const READ = -3;
const FORGET = -4;
const VIEW = -5;
const HEAL = -6;
/** Views begin at multiples of so many bytes: what every device binds at. */
export const VIEW_ALIGNMENT = 256;
/** Buffer numbers below this are the engine's own (native/engine/self_test.h). */
const RESERVED_BUFFERS = 64;

/** Words and output bytes after which a block goes off by itself: small enough to keep the executor busy. */
const BLOCK_WORDS = 1024;
const BLOCK_BYTES = 256 * 2 ** 20;

/** What is alive, in bytes and counts. `peak` is the figure that every memory claim uses. */
export interface MemoryReport {
  /** Tensors that JavaScript holds. */
  tensors: number;
  host: { live: number; peak: number; pooled: number };
  device: { live: number; peak: number; pooled: number } | null;
}

export class Runtime {
  readonly caps: Caps | null;
  /** Of the CPU's team. */
  readonly threads: number;
  /** Prepared ops by op: filled by ops/record.ts. */
  readonly memo: Map<string | number, unknown>[] = [];
  /** Tensors alive, counted by tensor/tensor.ts. */
  tensors = 0;

  #engine: NativeEngine;
  #route: Route;
  #words = new Int32Array(BLOCK_WORDS + 1024);
  #count = 0;
  #blockBytes = 0;
  #external = 0;
  #free: number[] = [];
  #next = RESERVED_BUFFERS;
  #preparedNext = 0;
  #preparedFree: number[] = [];
  #forgotten: number[] = [];
  #disposed = false;
  #used = false;

  constructor(options: RuntimeOptions = {}) {
    const resolved = resolve(options);
    try {
      this.#engine = new (native().Engine)(resolved);
    } catch (error) {
      throw fromNative(error);
    }
    this.#route = resolved.route;
    this.caps = this.#engine.caps();
    this.threads = resolved.threads;
    alive.add(new WeakRef(this));
  }

  get route(): Route {
    return this.#route;
  }

  /** Takes effect for everything recorded after the call. */
  set route(route: Route) {
    checkRoute(route);
    if (route !== 'cpu' && !this.caps)
      throw new DeviceError(`route '${route}' needs a Vulkan device, and this runtime has none`, {
        hint: 'run `attn-vk doctor`',
      });
    this.flush();
    this.#live().setRoute(route);
    this.#route = route;
  }

  // ---------------------------------------------------------------- recording

  /** Numbers a prepared op; `record` names it so until `forget`. */
  prepare(prepared: Prepared): number {
    const engine = this.#live();
    const number = this.#preparedFree.pop() ?? this.#preparedNext++;
    engine.prepare(number, prepared);
    return number;
  }

  /** The prepared op will not be recorded again. Its number is given out again once this block is away. */
  forget(prepared: number): void {
    this.#words[this.#count++] = FORGET;
    this.#words[this.#count++] = prepared;
    this.#forgotten.push(prepared);
    if (this.#count >= BLOCK_WORDS) this.flush();
  }

  /** Names a buffer of so many bytes. */
  newBuffer(bytes: number): number {
    if (this.#disposed) this.#live();
    this.#blockBytes += bytes;
    return this.#free.pop() ?? this.#next++;
  }

  /**
   * Tells V8 of bytes that end only when it collects a tensor: with the next block. What scopes end is none of its
   * business, and hearing of it V8 would collect garbage at every training step.
   */
  heldByCollector(bytes: number): void {
    this.#external += bytes;
  }

  freeBuffer(buffer: number): void {
    if (this.#disposed) return;
    this.#words[this.#count++] = FREE;
    this.#words[this.#count++] = buffer;
    this.#free.push(buffer);
    if (this.#count >= BLOCK_WORDS) this.flush();
  }

  /** Appends one op: operands are the buffers of its inputs, then of its outputs. */
  record(prepared: number, operands: readonly number[]): void {
    if (this.#count + operands.length >= this.#words.length) this.#grow(operands.length);
    const words = this.#words;
    let at = this.#count;
    words[at++] = prepared;
    for (let i = 0; i < operands.length; i++) words[at++] = operands[i]!;
    this.#count = at;
    if (at >= BLOCK_WORDS || this.#blockBytes >= BLOCK_BYTES) this.flush();
  }

  /** A new buffer holding a copy of `data`. */
  upload(data: ArrayBufferView): number {
    const index = this.#place(data);
    const buffer = this.newBuffer(data.byteLength);
    this.#words[this.#count++] = ADOPT;
    this.#words[this.#count++] = buffer;
    this.#words[this.#count++] = index;
    if (this.#count >= BLOCK_WORDS) this.flush();
    return buffer;
  }

  /** A copy of `data` in host memory. Where there is no room, what was disposed but not yet ended makes some. */
  #place(data: ArrayBufferView): number {
    const engine = this.#live();
    for (let attempt = 0; ; attempt++)
      try {
        return engine.upload(data);
      } catch (raw) {
        const error = fromNative(raw);
        if (!(error instanceof OutOfMemoryError)) throw error;
        if (attempt > 0) throw error.of('tensor');
        this.stats();
      }
  }

  /** A new buffer that names the bytes of another from `offset` on, which must outlive it. */
  view(parent: number, offset: number): number {
    const buffer = this.newBuffer(0);
    this.#words[this.#count++] = VIEW;
    this.#words[this.#count++] = buffer;
    this.#words[this.#count++] = parent;
    this.#words[this.#count++] = offset / VIEW_ALIGNMENT;
    if (this.#count >= BLOCK_WORDS) this.flush();
    return buffer;
  }

  /** Forgets that a buffer failed: all of it is about to be written. */
  heal(buffer: number): void {
    this.#words[this.#count++] = HEAL;
    this.#words[this.#count++] = buffer;
    if (this.#count >= BLOCK_WORDS) this.flush();
  }

  flush(): void {
    if (this.#count > 0) this.#submit(undefined, false);
  }

  // ---------------------------------------------------------------- routing

  /**
   * Called by the first op: a runtime that routes by itself and knows nothing of this machine measures it now.
   * ATTN_VK_CALIBRATE=0 leaves it with the default thresholds.
   */
  firstUse(): void {
    if (this.#used) return;
    this.#used = true;
    if (this.#route !== 'auto' || process.env.ATTN_VK_CALIBRATE === '0' || !calibrator || this.calibrated)
      return;
    calibrator(this).catch((error) => log('warn', `calibration failed, default thresholds serve: ${error}`));
  }

  /** Times these prepared ops on both sides (about `seconds` in all) and routes by the result from then on. */
  calibrate(prepared: readonly number[], seconds: number): Promise<void> {
    this.flush();
    return this.#live().calibrate(prepared, seconds);
  }

  /** The router has figures of this machine, from this run or from the cache folder. */
  get calibrated(): boolean {
    return this.#live().routing().calibrated;
  }

  /** What the router knows: cache file, self-test results by GPU variant ('' passed). */
  routing(): Routing {
    return this.#live().routing();
  }

  /** Runs `fn` and tells for each op recorded in it what either side would cost, which was chosen, and why. */
  explain(fn: () => void): Explanation[] {
    this.flush();
    const engine = this.#live();
    engine.explain(true);
    try {
      fn();
    } finally {
      this.flush();
    }
    return engine.explain(false);
  }

  /**
   * Runs `fn` (which may be async) and tells where the time went, the most costly problem first. Each op is waited
   * for meanwhile: the shares are true, the total is more than without.
   */
  async profile(fn: () => unknown): Promise<ProfileRow[]> {
    this.flush();
    this.#live().profile(true);
    try {
      await fn();
    } finally {
      this.flush();
    }
    return this.#live()
      .profile(false)
      .sort((a, b) => b.seconds - a.seconds);
  }

  // ---------------------------------------------------------------- reading

  /** Fills `target` with the buffer's bytes; the JavaScript thread goes on. */
  read(buffer: number, target: ArrayBufferView): Promise<void> {
    this.#recordRead(buffer);
    return this.#submit([target], false)!.catch((e) => Promise.reject(fromNative(e)));
  }

  /** As `read`, but waits. */
  readSync(buffer: number, target: ArrayBufferView): void {
    this.#recordRead(buffer);
    const [count, delta] = this.#take();
    try {
      this.#live().submitSync(this.#words, count, [target], false, delta);
    } catch (error) {
      throw fromNative(error);
    }
  }

  /** Resolves when everything recorded has run; rejects with the first failure that no read has reported. */
  sync(): Promise<void> {
    return this.#submit(undefined, true)!.catch((e) => Promise.reject(fromNative(e)));
  }

  /** Live, peak and pooled bytes after all recorded work (waits for it). */
  memory(): MemoryReport {
    const { host, device } = this.stats();
    const brief = (m: { live: number; peak: number; pooled: number }) => ({
      live: m.live,
      peak: m.peak,
      pooled: m.pooled,
    });
    return { tensors: this.tensors, host: brief(host), device: device ? brief(device) : null };
  }

  /** All counters after all recorded work (waits for it). */
  stats(): EngineStats {
    this.flush();
    return this.#live().stats(true);
  }

  /**
   * Most bytes alive at once, of either side, up to the work recorded last; new peaks begin there. The JavaScript thread
   * goes on meanwhile.
   */
  async takePeak(): Promise<{ host: number; device: number }> {
    this.flush();
    const peaks = new Float64Array(2);
    await this.#live().takePeak(peaks);
    return { host: peaks[0]!, device: peaks[1]! };
  }

  /** Returns pooled memory to the system and begins a new peak. */
  trim(): void {
    this.flush();
    this.#live().trim();
  }

  /** Validation messages since the last call. */
  takeMessages(): string[] {
    this.flush();
    return this.#live().takeMessages();
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** Ends the executor; tensors of this runtime are unusable afterwards. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#count = 0;
    this.#engine.dispose();
    if (current === this) current = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #live(): NativeEngine {
    if (this.#disposed)
      throw new DisposedError('the runtime was disposed', {
        hint: 'make tensors on a runtime that is alive',
      });
    return this.#engine;
  }

  /** Room for an op with very many operands (concat). */
  #grow(operands: number): void {
    this.flush();
    if (operands >= this.#words.length) this.#words = new Int32Array(operands + BLOCK_WORDS);
  }

  #recordRead(buffer: number): void {
    this.#live();
    this.#words[this.#count++] = READ;
    this.#words[this.#count++] = buffer;
    this.#words[this.#count++] = 0;
  }

  #take(): [count: number, externalDelta: number] {
    const taken: [number, number] = [this.#count, this.#external];
    this.#count = 0;
    this.#blockBytes = 0;
    this.#external = 0;
    if (this.#forgotten.length > 0) this.#preparedFree.push(...this.#forgotten.splice(0));
    return taken;
  }

  #submit(targets: ArrayBufferView[] | undefined, barrier: boolean): Promise<void> | undefined {
    const engine = this.#live();
    const [count, delta] = this.#take();
    return engine.submit(this.#words, count, targets, barrier, delta);
  }
}

let calibrator: ((runtime: Runtime) => Promise<void>) | undefined;

/** How a runtime calibrates itself: ops/calibration.ts, which knows ops to time, says so from above. */
export function setCalibrator(calibrate: (runtime: Runtime) => Promise<void>): void {
  calibrator = calibrate;
}

let current: Runtime | undefined;

const alive = new Set<WeakRef<Runtime>>();

/** Runtimes that were made and neither disposed nor collected. */
export const aliveRuntimes = (): Runtime[] =>
  [...alive].flatMap((ref) => {
    const runtime = ref.deref();
    if (!runtime || runtime.disposed) alive.delete(ref);
    return runtime && !runtime.disposed ? [runtime] : [];
  });

/** The runtime that new tensors belong to; made with defaults on first use. */
export const runtime = (): Runtime => (current ??= new Runtime());

/** Makes a runtime the one that new tensors belong to, and returns the one before. */
export function useRuntime(next: Runtime | undefined): Runtime | undefined {
  if (next !== undefined && !(next instanceof Runtime))
    throw new ArgumentError(`expected a runtime but got ${typeof next}`, {
      op: 'useRuntime',
      hint: 'make one with new Runtime(), or give undefined for a default one',
    });
  const before = current;
  current = next;
  return before;
}

/** Runs `fn`, which is not async, with another current runtime: where what it makes out of nothing belongs. */
export function onRuntime<T>(runtime: Runtime, fn: () => T): T {
  const before = useRuntime(runtime);
  try {
    return fn();
  } finally {
    useRuntime(before);
  }
}
