/** What the GPU plans of several ops share: workgroup sizes, limits, windows over large operands. */
import type { Bind, Caps } from '../runtime/binding.js';
import { perWord } from '../tensor/dtype.js';
import { type Spec, show } from '../tensor/shape.js';

/** 32-bit words of storage. */
export const wordsOf = (s: Spec): number => Math.ceil(s.size / perWord(s.dtype));

/** Workgroup of kernels whose invocations work alone. */
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

/** Why loops that a plan cannot cut may not run on a software device, or null. */
export const overTurns = (turns: number, caps: Caps): string | null =>
  caps.type === 'cpu' && turns > MOST_TURNS
    ? `${turns} turns of its loops are more than software drivers run`
    : null;

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

/** A list with leading `fill` to a fixed length: axes of shaders that always walk so many. */
export const padLeft = (list: readonly number[], length: number, fill: number): number[] => [
  ...new Array<number>(length - list.length).fill(fill),
  ...list,
];
