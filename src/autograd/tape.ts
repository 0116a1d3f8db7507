/** Recording: every call with an operand in the graph leaves a node, which saves what its gradient reads and no more. */
import type { Op, OpTable, Problem, Value } from '../ops/contract.js';
import * as exported from '../ops/index.js';
import { observer } from '../ops/record.js';
import { GradError } from '../runtime/errors.js';
import { isFloat } from '../tensor/dtype.js';
import type { Shape } from '../tensor/shape.js';
import { setReshapeObserver, type Tensor } from '../tensor/tensor.js';
import { watch } from './anomaly.js';
import { edgeOf, GraphEdge, GraphNode, Held, holdEdge } from './graph.js';
import { differentiating, modes, recording } from './modes.js';

const F = exported as unknown as OpTable;

/** The output of a node that makes it again when it is asked for, and keeps it while a recipe of it is left. */
class Recipe {
  constructor(readonly maker: OpNode) {
    maker.recipes++;
  }
  unchanged(): Tensor {
    return this.maker.again();
  }
  release(): void {
    if (--this.maker.recipes === 0) this.maker.forget();
  }
}

class OpNode extends GraphNode {
  readonly edges: readonly (GraphEdge | undefined)[];
  readonly name: string;
  override readonly accumulates: readonly number[];
  #inputs: (Held | Recipe | undefined)[];
  #outputs: (Held | undefined)[];
  /** The first output, made again, and those who may yet ask for it. */
  #again: Held | undefined;
  recipes = 0;

  constructor(
    readonly op: Op,
    readonly problem: Problem,
    inputs: readonly Tensor[],
    outputs: readonly Tensor[],
  ) {
    super();
    this.name = op.name;
    this.accumulates = op.accumulates ?? [];
    this.edges = inputs.map(holdEdge);
    const { saves } = op;
    this.#inputs = inputs.map((t, i) =>
      saves?.inputs?.includes(i) ? (recipeOf(t) ?? new Held(t)) : undefined,
    );
    this.#outputs = outputs.map((t, i) => (saves?.outputs?.includes(i) ? new Held(t) : undefined));
  }

  differentiate(
    grads: readonly (Tensor | undefined)[],
    pending: readonly (Tensor | undefined)[],
  ): readonly (Value | null)[] {
    const { op } = this;
    if (!op.backward)
      throw new GradError(`${op.name} has no gradient`, {
        op: op.name,
        hint: op.internal
          ? 'it is a gradient itself: higher derivatives are not supported'
          : 'cut the graph before it with detach()',
      });
    return op.backward({
      grads,
      pending,
      needs: this.edges.map((e) => e !== undefined),
      ...this.#saved(),
    });
  }

  /** The first output, computed from what is saved: once, for all whose gradient reads it. */
  again(): Tensor {
    if (this.spent)
      throw new GradError('the graph was freed by an earlier backward()', {
        op: this.name,
        hint: 'call backward(…, { retainGraph: true }) the first time',
      });
    this.#again ??= new Held(this.op.recompute!.run(this.#saved()) as Tensor);
    return this.#again.tensor();
  }

  forget(): void {
    this.#again?.release();
    this.#again = undefined;
  }

  #saved() {
    const { op, problem } = this;
    return {
      inputs: this.#inputs.map((held) => held?.unchanged(op.name)),
      outputs: this.#outputs.map((held) => held?.unchanged(op.name)),
      attrs: problem.attrs as object,
      problem: problem as Problem<object>,
      F,
    };
  }

  free(): void {
    for (const held of [...this.#inputs, ...this.#outputs]) held?.release();
    this.#inputs = [];
    this.#outputs = [];
    this.forget();
  }
}

/** Results smaller than this are kept: the calls that make them again would cost more time than they save memory. */
const REMADE_BYTES = 2 * 2 ** 20;

/** How to make a tensor again instead of keeping it: its edge holds the node that knows. */
function recipeOf(tensor: Tensor): Recipe | undefined {
  if (tensor.spec.bytes < REMADE_BYTES) return undefined;
  const edge = edgeOf(tensor);
  if (edge?.output !== 0 || !(edge.node instanceof OpNode)) return undefined;
  const { op, problem } = edge.node;
  return op.recompute?.can(problem as Problem<object>) ? new Recipe(edge.node) : undefined;
}

class ReshapeNode extends GraphNode {
  readonly name = 'reshape';
  readonly edges: readonly (GraphEdge | undefined)[];
  readonly #shape: Shape;

  constructor(from: Tensor) {
    super();
    this.edges = [holdEdge(from)];
    this.#shape = from.shape;
  }
  differentiate(grads: readonly (Tensor | undefined)[]): readonly Value[] {
    return [grads[0]!.reshape(this.#shape)];
  }
  free(): void {}
}

function recorded(op: Op, problem: Problem, inputs: readonly Tensor[], outputs: readonly Tensor[]): void {
  const results = outputs.slice(0, op.results ?? 1);
  if (modes().anomaly && !differentiating()) watch(op.name, results);
  if (!recording() || !inputs.some((t) => t.edge)) return;
  // Flags and indices do not move when an input moves a little.
  if (!results.some((t) => isFloat(t.dtype))) return;
  const node = new OpNode(op, problem, inputs, outputs);
  results.forEach((t, i) => {
    if (isFloat(t.dtype)) t.edge = new GraphEdge(node, i);
  });
}

function changing(op: Op, inputs: readonly Tensor[]): void {
  if (!recording() || !inputs.some((t) => t.edge)) return;
  throw new GradError('changes tensors in place, which the graph of gradients cannot follow', {
    op: op.name,
    hint: 'wrap it in noGrad(() => …)',
  });
}

observer.recorded = recorded;
observer.changing = changing;
setReshapeObserver((from, to) => {
  if (recording()) to.edge = new GraphEdge(new ReshapeNode(from), 0);
});
