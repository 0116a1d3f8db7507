/**
 * Einstein summation out of other ops: diagonals are columns, free axes are sums, and a pair of operands is one
 * batched matmul after permuting, so that its gradient is theirs. Three operands and more contract left to right.
 */
import { ArgumentError } from '../runtime/errors.js';
import { scope } from '../tensor/scope.js';
import { describe, sizeOf } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { mul } from './binary.js';
import { type Label, parse } from './einsum.parse.js';
import { matmul } from './matmul.js';
import { pad } from './pad.js';
import { permute } from './permute.js';
import { sum } from './reduce.js';
import { slice } from './slice.js';

/** A tensor and the labels of its axes. */
interface Labelled {
  x: Tensor;
  labels: readonly Label[];
}

/**
 * `einsum('bij,bjk->bik', a, b)`: the sum, over all labels that the output lacks, of the product of the operands.
 * A label that an operand repeats takes its diagonal. Without '->', the output has the labels that occur once, in
 * alphabetical order. '...' stands for the axes without a letter, aligned from the right.
 *
 * @throws ArgumentError for an equation that cannot be read, ShapeError for operands that it does not fit.
 */
export function einsum(equation: string, ...operands: Tensor[]): Tensor {
  for (const [i, x] of operands.entries())
    if (!(x instanceof Tensor))
      throw new ArgumentError(`operand ${i} must be a tensor but is ${describe(x)}`, {
        op: 'einsum',
        hint: "call it as einsum('ij,jk->ik', a, b)",
      });
  const { inputs, output, sizes } = parse(
    equation,
    operands.map((x) => x.shape),
  );
  const sized = (labels: readonly Label[]) => labels.map((l) => sizes.get(l)!);
  return scope(() => {
    let [got, ...rest] = operands.map((x, i) => diagonal({ x, labels: inputs[i]! })) as [
      Labelled,
      ...Labelled[],
    ];
    while (rest.length > 0) {
      const [next, ...later] = rest;
      const wanted = new Set([...output, ...later.flatMap((o) => o.labels)]);
      got = pair(got, next!, wanted, sized);
      rest = later;
    }
    // A tensor of its own even where nothing had to be done.
    return ordered(summed(got, new Set(output)), output).reshape(sized(output));
  });
}

/**
 * Of axes that share a label, the elements with equal indices: of the axes merged, every (n + 1)th, the first column
 * once n more make rows of n + 1 of them.
 */
function diagonal({ x, labels }: Labelled): Labelled {
  const twice = labels.find((l, i) => labels.indexOf(l) !== i);
  if (twice === undefined) return { x, labels };
  const first = labels.indexOf(twice);
  const second = labels.indexOf(twice, first + 1);
  const others = labels.map((_, i) => i).filter((i) => i !== first && i !== second);
  const n = x.shape[first]!;
  const rest = sizeOf(others.map((i) => x.shape[i]!));
  const merged = reorder(x, [...others, first, second]).reshape([rest, n * n]);
  const rows = pad(merged, { before: [0, 0], after: [0, n] }).reshape([rest, n, n + 1]);
  const kept = [...others, first];
  return diagonal({
    x: slice(rows, { starts: [0, 0, 0], ends: [rest, n, 1] }).reshape(kept.map((i) => x.shape[i]!)),
    labels: kept.map((i) => labels[i]!),
  });
}

/** One operand for two: labels that are not `wanted` any more are summed over. */
function pair(
  a: Labelled,
  b: Labelled,
  wanted: ReadonlySet<Label>,
  sized: (labels: readonly Label[]) => number[],
): Labelled {
  a = summed(a, new Set([...wanted, ...b.labels]));
  b = summed(b, new Set([...wanted, ...a.labels]));
  const shared = a.labels.filter((l) => b.labels.includes(l));
  const batch = shared.filter((l) => wanted.has(l));
  const inner = shared.filter((l) => !wanted.has(l));
  const rows = a.labels.filter((l) => !shared.includes(l));
  const columns = b.labels.filter((l) => !shared.includes(l));
  const [z, m, n, k] = [batch, rows, columns, inner].map((labels) => sizeOf(sized(labels))) as [
    number,
    number,
    number,
    number,
  ];
  let y: Tensor;
  if (inner.length === 0)
    y = mul(
      ordered(a, [...batch, ...rows]).reshape([z, m, 1]),
      ordered(b, [...batch, ...columns]).reshape([z, 1, n]),
    );
  else {
    // Each operand in the form it is stored in, where matmul takes that.
    const transposeA = !is(a, [...batch, ...rows, ...inner]) && is(a, [...batch, ...inner, ...rows]);
    const transposeB = !is(b, [...batch, ...inner, ...columns]);
    y = matmul(
      ordered(a, transposeA ? [...batch, ...inner, ...rows] : [...batch, ...rows, ...inner]).reshape(
        transposeA ? [z, k, m] : [z, m, k],
      ),
      ordered(b, transposeB ? [...batch, ...columns, ...inner] : [...batch, ...inner, ...columns]).reshape(
        transposeB ? [z, n, k] : [z, k, n],
      ),
      undefined,
      { transposeA, transposeB },
    );
  }
  const labels = [...batch, ...rows, ...columns];
  return { x: y.reshape(sized(labels)), labels };
}

const is = ({ labels }: Labelled, order: readonly Label[]): boolean => order.every((l, i) => l === labels[i]);

/** Summed over the labels that are not kept. */
function summed({ x, labels }: Labelled, kept: ReadonlySet<Label>): Labelled {
  const axis = labels.flatMap((l, i) => (kept.has(l) ? [] : [i]));
  return axis.length === 0
    ? { x, labels }
    : { x: sum(x, { axis }), labels: labels.filter((l) => kept.has(l)) };
}

const ordered = ({ x, labels }: Labelled, order: readonly Label[]): Tensor =>
  reorder(
    x,
    order.map((l) => labels.indexOf(l)),
  );

const reorder = (x: Tensor, axes: number[]): Tensor =>
  axes.every((a, i) => a === i) ? x : permute(x, { axes });
