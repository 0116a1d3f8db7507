/** Reverse mode: gradients flow from a scalar to the leaves, and what the tape saved is freed on the way. */
import { add, cast } from '../ops/index.js';
import { ArgumentError, GradError, ShapeError } from '../runtime/errors.js';
import { onRuntime } from '../runtime/runtime.js';
import { encode } from '../tensor/dtype.js';
import { scope } from '../tensor/scope.js';
import { describe, show } from '../tensor/shape.js';
import { Tensor, tensor } from '../tensor/tensor.js';
import { watch } from './anomaly.js';
import { edgeOf, type GraphEdge, type GraphNode, Held } from './graph.js';
import { Leaf } from './leaf.js';
import { modes, pausing } from './modes.js';

export interface BackwardOptions {
  /** Keeps what was saved, for another backward(). */
  retainGraph?: boolean;
}

/** Adds d(root) / d(leaf), weighted by `gradient` (1 for a scalar), to the gradient of each leaf that root depends on. */
export function backward(root: Tensor, gradient?: Tensor, options: BackwardOptions = {}): void {
  const op = 'backward';
  const edge = edgeOf(root);
  root.storage(op, 'x');
  if (!edge)
    throw new GradError(`${root} does not depend on anything that requires a gradient`, {
      op,
      hint: 'set requiresGrad on a tensor it is computed from, and do so outside noGrad()',
    });
  if (gradient !== undefined && !(gradient instanceof Tensor))
    throw new ArgumentError(`the gradient is ${describe(gradient)}`, {
      op,
      hint: 'a tensor, or undefined: backward(undefined, { retainGraph: true })',
    });
  if (gradient === undefined ? root.size !== 1 : gradient.spec !== root.spec)
    throw new ShapeError(
      gradient === undefined
        ? `${root} is no scalar`
        : `the gradient is ${show(gradient.shape, gradient.dtype)} but the tensor is ${show(root.shape, root.dtype)}`,
      {
        op,
        hint: gradient === undefined ? 'sum or average it, or give backward(gradient)' : 'they are equal',
      },
    );
  const { shape, dtype, runtime } = root;
  onRuntime(runtime, () =>
    pausing(() =>
      scope(() => {
        const first = gradient ?? tensor(encode(dtype, [1]), shape, { dtype });
        flow([[edge, first]], options.retainGraph ?? false);
      }),
    ),
  );
}

/** The same from several tensors at once, each with its gradient; those that depend on no leaf are passed over. */
export function backwardFrom(roots: readonly Tensor[], gradients: readonly (Tensor | undefined)[]): void {
  const starts = roots.flatMap((root, i) => {
    const edge = edgeOf(root);
    return edge && gradients[i] ? [[edge, gradients[i]] as const] : [];
  });
  if (starts.length > 0) onRuntime(roots[0]!.runtime, () => pausing(() => scope(() => flow(starts, false))));
}

/** Shares of the gradient by node and output, as they come in. */
type Shares = Map<GraphNode, (Held | undefined)[]>;

function flow(roots: readonly (readonly [GraphEdge, Tensor])[], retain: boolean): void {
  const shares: Shares = new Map();
  try {
    for (const [root, gradient] of roots) gain(shares, root, gradient);
    for (const node of ordered(roots.map(([root]) => root.node))) {
      const mine = shares.get(node);
      if (!mine) continue; // on no path from the root that carries a gradient
      shares.delete(node);
      try {
        if (node instanceof Leaf) reach(node, mine[0]!);
        else pass(node, mine, shares);
      } finally {
        for (const share of mine) share?.release();
      }
      if (!retain && !(node instanceof Leaf)) node.spend();
    }
  } finally {
    for (const left of shares.values()) for (const share of left) share?.release();
  }
}

/** Gradients may be changed in place, by clipping say: one that others read too is copied. */
function reach(leaf: Leaf, share: Held): void {
  const { shared } = share;
  scope(() => leaf.accumulate(share.tensor(), shared));
}

/** Everything the roots depend on, latest first. */
function ordered(roots: readonly GraphNode[]): GraphNode[] {
  const seen = new Set(roots);
  const open = [...seen];
  for (let node = open.pop(); node; node = open.pop())
    for (const edge of node.edges)
      if (edge && !seen.has(edge.node)) {
        seen.add(edge.node);
        open.push(edge.node);
      }
  return [...seen].sort((a, b) => b.id - a.id);
}

/** Differentiates one node and hands its inputs their shares. */
function pass(node: GraphNode, mine: readonly (Held | undefined)[], shares: Shares): void {
  if (node.spent)
    throw new GradError('the graph was freed by an earlier backward()', {
      op: node.name,
      hint: 'compute the loss anew, or call backward(…, { retainGraph: true }) the first time',
    });
  scope(() => {
    const known = node.edges.map((edge, i) =>
      edge && node.accumulates.includes(i) ? shares.get(edge.node)?.[edge.output]?.tensor() : undefined,
    );
    const grads = node.differentiate(
      mine.map((held) => held?.tensor()),
      known,
    ) as readonly (Tensor | null | undefined)[];
    if (modes().anomaly)
      watch(
        node.name,
        grads.map((g) => g ?? undefined),
        'gradient of input',
      );
    node.edges.forEach((edge, i) => {
      const grad = grads[i];
      if (!edge || !grad) return;
      gain(shares, edge, grad as Tensor, known[i] !== undefined);
    });
  });
}

/** Adds to an edge's share; `whole` says that what it had is in there already. */
function gain(shares: Shares, edge: GraphEdge, grad: Tensor, whole = false): void {
  const before = shares.get(edge.node)?.[edge.output];
  give(shares, edge, new Held(before && !whole ? sum(before.tensor(), grad) : grad));
  before?.release();
}

function give(shares: Shares, edge: GraphEdge, share: Held): void {
  let of = shares.get(edge.node);
  if (!of) shares.set(edge.node, (of = []));
  of[edge.output] = share;
}

/** The sum of two shares, in the wider of their dtypes. */
const sum = (a: Tensor, b: Tensor): Tensor =>
  a.dtype === b.dtype ? add(a, b) : add(cast(a, { dtype: 'float32' }), cast(b, { dtype: 'float32' }));
