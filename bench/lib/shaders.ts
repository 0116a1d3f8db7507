/**
 * Which kernels make their workgroup wait again and again: on a software driver each such wait costs as much as
 * hundreds of flops. Trees and tiles wait in a loop, which takes two waits in the code; a single one is harmless.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/runtime/load.js';

const OP_CONTROL_BARRIER = 224;
const known = new Map<string, boolean>();

export function barrierHeavy(shader: string): boolean {
  let heavy = known.get(shader);
  if (heavy === undefined) known.set(shader, (heavy = barriers(shader) > 1));
  return heavy;
}

/** Control barriers in the SPIR-V that the native build left beside the addon. */
function barriers(shader: string): number {
  const root = packageRoot();
  const path = ['build/spirv', 'build/cmake/spirv']
    .map((folder) => join(root, folder, `${shader}.spv`))
    .find(existsSync);
  if (!path) throw new Error(`no SPIR-V of ${shader} under build/: npm run build:native`);
  const bytes = readFileSync(path);
  let count = 0;
  // Five words of header; each instruction then begins with its length in words and its opcode.
  for (let at = 20; at < bytes.length; ) {
    const word = bytes.readUInt32LE(at);
    if ((word & 0xffff) === OP_CONTROL_BARRIER) count++;
    at += 4 * (word >>> 16);
  }
  return count;
}
