/** What `bench:vulkan` walks: every element-wise op, which it finds by itself, and the ops that stand for their kind. */
import type { Op, Problem } from '../../src/ops/contract.js';
import { problemOf } from '../../src/ops/record.js';
import { opNamed, ops } from '../../src/ops/registry.js';
import type { DType } from '../../src/tensor/dtype.js';
import { type Shape, type Spec, spec } from '../../src/tensor/shape.js';

export interface Case {
  op: Op;
  /** Side of the square operands. */
  n: number;
  /** dtype of the free operands. */
  dtype: DType;
  attrs: object;
  inputs: { spec: Spec; domain: readonly [number, number] }[];
  problem: Problem;
  /** 'add float32 512x512' */
  name: string;
  kind: 'element-wise' | 'matmul' | 'other';
}

/** The CPU kernel families of element-wise ops: an op that runs on one of them is one. */
const families = ['unary', 'binary', 'where', 'cast'];

const special: Record<string, object> = {
  cast: { dtype: 'bfloat16' },
  sum: { axis: -1 },
  permute: { axes: [1, 0] },
};

/** `more` are the shapes of the inputs after the first where they differ from it; optional ones are left out else. */
export function makeCase(
  op: Op,
  n: number,
  dtype: DType = 'float32',
  shape: Shape = [n, n],
  more: readonly Shape[] = [],
): Case {
  const given = Math.max(op.inputSpecs.length - (op.optional ?? 0), 1 + more.length);
  const inputs = op.inputSpecs.slice(0, given).map((input, i) => ({
    spec: spec((i > 0 && more[i - 1]) || shape, input.dtype ?? input.dtypes?.[0] ?? dtype),
    domain: input.domain ?? ([-3, 3] as const),
  }));
  const attrs = special[op.name] ?? {};
  const problem = problemOf(
    op,
    inputs.map((i) => i.spec),
    { ...op.attrs, ...attrs },
  );
  const kind =
    op.name === 'matmul'
      ? 'matmul'
      : families.includes(op.cpu(problem as Problem<object>).kernel)
        ? 'element-wise'
        : 'other';
  return { op, n, dtype, attrs, inputs, problem, name: `${op.name} ${dtype} ${shape.join('x')}`, kind };
}

/** Cases by size, then in the order of the registry; `only` names ops. */
export function cases(sizes: readonly number[], only: readonly string[]): Case[] {
  for (const name of only) opNamed(name);
  const chosen = ops.filter((op) => (only.length > 0 ? only.includes(op.name) : walked(op)));
  return sizes.flatMap((n) =>
    chosen.flatMap((op) => {
      const dtypes: DType[] = op.name === 'matmul' ? ['float32', 'bfloat16'] : ['float32'];
      return dtypes.filter((dtype) => op.dtypes.includes(dtype)).map((dtype) => makeCase(op, n, dtype));
    }),
  );
}

const others = ['matmul', 'softmax', 'sum', 'permute'];

function walked(op: Op): boolean {
  if (others.includes(op.name)) return true;
  if (op.inputSpecs.length === 0 || op.variadic || !op.dtypes.includes('float32')) return false;
  try {
    return makeCase(op, 4).kind === 'element-wise';
  } catch {
    // It needs attributes or operands that this walk does not know: no element-wise op does.
    return false;
  }
}
