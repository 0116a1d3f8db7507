/**
 * Autocast: products run on halves with fp32 sums while parameters, norms, softmax and losses stay fp32. Each op says
 * what becomes of its inputs (`autocast` in its definition); the casts are calls like others, so gradients flow through
 * them back to fp32.
 */
import type { Op, Operand } from '../ops/contract.js';
import { cast } from '../ops/index.js';
import { inputSpec, observer } from '../ops/record.js';
import { ArgumentError } from '../runtime/errors.js';
import { type DType, isFloat } from '../tensor/dtype.js';
import { Tensor } from '../tensor/tensor.js';
import { edgeOf } from './graph.js';
import { leafOf } from './leaf.js';
import { differentiating, type Half, modes, recording, within } from './modes.js';

/**
 * Runs `fn` (which may be async) with matmul-like ops in `dtype`. Parameters are cast once for each region.
 * Call backward() outside or inside; it follows what was recorded.
 */
export function autocast<T>(dtype: Half, fn: () => T): T {
  if (dtype !== 'bfloat16' && dtype !== 'float16')
    throw new ArgumentError(`autocast to ${String(dtype)}`, {
      op: 'autocast',
      hint: "use 'bfloat16' or 'float16'",
    });
  observer.convert = convert;
  return within({ autocast: dtype, casts: new Map() }, 'autocast', fn);
}

function convert(op: Op, operands: readonly Operand[]): readonly Operand[] {
  const { autocast: half } = modes();
  if (!half || !op.autocast || differentiating()) return operands;
  const free = (i: number) => {
    const spec = inputSpec(op, i);
    return !spec.dtype && !spec.dtypes;
  };
  let target: DType | undefined = half;
  if (op.autocast === 'widest') {
    const dtypes = new Set(operands.flatMap((t, i) => (t instanceof Tensor && free(i) ? [t.dtype] : [])));
    if (dtypes.size < 2 || ![...dtypes].every(isFloat)) return operands;
    target = 'float32';
  }
  return operands.map((t, i) =>
    t instanceof Tensor && free(i) && isFloat(t.dtype) && t.dtype !== target ? castOnce(t, target) : t,
  );
}

/** It is still there, and so is its way back to the parameter where calls are recorded. */
function usable(made: Tensor): boolean {
  if (made.disposed) return false;
  const edge = edgeOf(made);
  return recording() ? edge !== undefined && !edge.node.spent : true;
}

function castOnce(x: Tensor, dtype: DType): Tensor {
  const { casts } = modes();
  if (!leafOf(x)) return cast(x, { dtype });
  const { version } = x.storage('autocast', 'x');
  const known = casts?.get(x);
  if (known && known.of === version && known.made.dtype === dtype && usable(known.made)) return known.made;
  const made = cast(x, { dtype });
  casts?.set(x, { made, of: version });
  return made;
}
