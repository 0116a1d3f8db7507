/** Every op, as tests, benchmarks, docs and the router read them: whatever ops/index.ts exports. */
import { ArgumentError } from '../runtime/errors.js';
import { isOp, type Op } from './define.js';
import * as exported from './index.js';

export const ops: readonly Op[] = (Object.values(exported) as unknown[])
  .filter(isOp)
  .map((callable) => callable.op);

export function opNamed(name: string): Op {
  const found = ops.find((op) => op.name === name);
  if (!found)
    throw new ArgumentError(`no op is called '${name}'`, {
      hint: `ops: ${ops.map((op) => op.name).join(' ')}`,
    });
  return found;
}
