/** What the GPU plans of several ops share: workgroup sizes, limits, and how operands larger than a binding are cut. */
import type { Bind, Caps, Dispatch } from '../runtime/binding.js';
import { dtypeBytes, dtypeCode, perWord } from '../tensor/dtype.js';
import { type Spec, show } from '../tensor/shape.js';
import type { Problem } from './contract.js';

/** The operand that is the engine's fault words: shaders/lib/fault.glsl writes them, native/engine/prepared.h reads. */
export const FAULT = 255;

/** 32-bit words of storage. */
export const wordsOf = (s: Spec): number => Math.ceil(s.size / perWord(s.dtype));

/**
 * Workgroup of kernels whose invocations work alone and briefly, a power of two: 256 where the device takes them; on
 * software drivers, where starting a group costs more than running it, up to 1024.
 */
export function mapGroup(caps: Caps): number {
  const most = Math.min(caps.type === 'cpu' ? 1024 : 256, caps.maxInvocations, caps.maxGroupSize[0]);
  return 2 ** Math.floor(Math.log2(most));
}

/** Workgroup of kernels whose invocations work alone and loop: small where few of them share the cores. */
export const loneGroup = (caps: Caps): number =>
  Math.min(caps.type === 'cpu' ? 64 : 256, caps.maxInvocations);

/** Workgroup of kernels that share memory: a power of two, at most 256 (shaders/lib/team.glsl). */
export const sharedGroup = (caps: Caps): number => (caps.maxInvocations >= 256 ? 256 : 128);

/** Kernels with a subgroup to a row need the subgroup's size before it runs, and its arithmetic. */
export function fixedSubgroups(caps: Caps): string | null {
  if (!caps.subgroupOps.includes('arithmetic')) return 'the device has no subgroup arithmetic';
  if (caps.subgroupMin !== caps.subgroupMax) return 'the size of a subgroup varies on this device';
  return null;
}

/**
 * Most turns of all its loops that one invocation may take: Mesa's llvmpipe ends a shader's loops, without a word,
 * when 65535 turns are spent. Plans cut longer work, which is no loss on other devices.
 */
export const MOST_TURNS = 32768;

/**
 * Cuts `lines` lines of `n` elements into segments, one to an invocation: enough of them to keep the device busy, none
 * shorter than `shortest`, none with more than MOST_TURNS turns at `turns` an element.
 */
export function cutLines(lines: number, n: number, shortest: number, turns: number, caps: Caps) {
  const busy = caps.type === 'cpu' ? 512 : 8192;
  const wanted = Math.max(
    1,
    Math.min(Math.ceil(busy / lines), Math.floor(n / shortest)),
    Math.ceil((turns * n) / MOST_TURNS),
  );
  const length = Math.ceil(n / wanted);
  return { length, segments: Math.ceil(n / length) };
}

/** Why loops that a plan cannot cut may not run on a software device, or null. */
export const overTurns = (turns: number, caps: Caps): string | null =>
  caps.type === 'cpu' && turns > MOST_TURNS
    ? `${turns} turns of its loops are more than software drivers run`
    : null;

/**
 * Narrows an output from fp32 scratch (16 bytes for every four elements), for kernels whose invocations would share
 * words of halves.
 */
export function narrow(
  scratch: number,
  operand: number,
  out: Pick<Spec, 'size' | 'dtype'>,
  caps: Caps,
): Dispatch {
  const units = Math.ceil(out.size / 4);
  const size = Math.min(256, caps.maxInvocations);
  return {
    shader: 'cast',
    spec: [size, 1, dtypeCode.float32, dtypeCode[out.dtype]],
    push: [units],
    groups: Math.ceil(units / size),
    binds: [
      { operand: scratch, write: false },
      { operand, write: true },
    ],
  };
}

/** Bytes of an output in float32, in the steps that `narrow` takes. */
export const widenedBytes = (out: Pick<Spec, 'size'>): number => Math.ceil(out.size / 4) * 16;

/**
 * Buffers that a plan adds behind the operands of its problem. Some stand in the places of outputs, in float32, where
 * invocations would share words of halves, or too few digits would be left for what reads them.
 */
export class Scratch {
  readonly bytes: number[] = [];
  readonly #widened = new Map<number, number>();

  constructor(readonly problem: Pick<Problem, 'inputs' | 'outputs'>) {}

  /** One buffer more, as an operand. */
  add(bytes: number): number {
    const { inputs, outputs } = this.problem;
    return inputs.length + outputs.length + this.bytes.push(Math.max(16, bytes)) - 1;
  }

  /** What stands in the place of an output. */
  widened(operand: number): number {
    const known = this.#widened.get(operand) ?? this.add(widenedBytes(this.#output(operand)));
    this.#widened.set(operand, known);
    return known;
  }

  /** Launches that bring what stands in the places of outputs to where it belongs. */
  narrow(caps: Caps): Dispatch[] {
    const all = Array.from(this.#widened, ([to, from]) => narrow(from, to, this.#output(to), caps));
    return all.filter(({ groups }) => groups > 0);
  }

  #output(operand: number): Spec {
    return this.problem.outputs[operand - this.problem.inputs.length]!;
  }
}

/** Names the first operand that one binding cannot hold. */
export function overBinding(operands: readonly Spec[], caps: Caps): string | null {
  for (const s of operands)
    if (s.bytes > caps.maxBindingBytes)
      return `${show(s.shape, s.dtype)} is larger than a binding of ${caps.maxBindingBytes} bytes`;
  return null;
}

/** The part [from, to) of an operand, in elements, as a binding at an aligned offset; `skip` elements lie before it. */
export function windowOf(operand: number, s: Spec, from: number, to: number): { bind: Bind; skip: number } {
  const size = 4 / perWord(s.dtype);
  const offset = Math.floor((from * size) / 256) * 256;
  const end = Math.min(Math.ceil(s.bytes / 64), Math.ceil((to * size) / 64)) * 64;
  return { bind: { operand, offset, bytes: end - offset }, skip: from - offset / size };
}

/** Elements that a window may span whatever its alignment. */
export const windowElements = (s: Spec, caps: Caps): number =>
  Math.floor((caps.maxBindingBytes - 512) / (4 / perWord(s.dtype)));

const CHUNK = 1024; // elements: 256 bytes even where they are bytes, the alignment that every binding offset has

/** Ranges of n elements in which no operand exceeds what a binding may hold. */
function* ranges(
  n: number,
  bytesPerElement: number,
  caps: Caps,
): Generator<{ first: number; count: number }> {
  const most = Math.max(1, Math.floor(caps.maxBindingBytes / bytesPerElement / CHUNK)) * CHUNK;
  for (let first = 0; first < n; first += most) yield { first, count: Math.min(most, n - first) };
}

/** A launch for each range of n elements: `make` turns a range and its binds into a dispatch. */
export function split(
  operands: readonly { spec: Spec; moves: number }[],
  n: number,
  caps: Caps,
  make: (range: { first: number; count: number }, binds: Bind[]) => Dispatch,
): Dispatch[] {
  const widest = Math.max(...operands.map((o) => dtypeBytes[o.spec.dtype]));
  return Array.from(ranges(n, widest, caps), (range) => {
    const whole = range.count === n;
    const binds = operands.map(({ spec, moves }, operand): Bind => {
      const size = dtypeBytes[spec.dtype];
      return whole || !moves
        ? { operand }
        : { operand, offset: range.first * size, bytes: Math.ceil((range.count * size) / 64) * 64 };
    });
    return make(range, binds);
  });
}

/** A list with leading `fill` to a fixed length: axes of shaders that always walk so many. */
export const padLeft = (list: readonly number[], length: number, fill: number): number[] => [
  ...new Array<number>(length - list.length).fill(fill),
  ...list,
];

/** The same with trailing ones. */
export const padRight = (list: readonly number[], length: number, fill: number): number[] => [
  ...list,
  ...new Array<number>(length - list.length).fill(fill),
];
