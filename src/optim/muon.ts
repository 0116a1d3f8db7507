/**
 * Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024): the momentum of each weight
 * matrix, made orthogonal by a Newton-Schulz iteration, is its step. Everything else is AdamW's.
 */
import { Parameter } from '../nn/parameter.js';
import { BLOCK } from '../ops/flat.js';
import {
  adamwStep,
  add,
  axpbyStep,
  cast,
  concat,
  div,
  matmul,
  mul,
  muonApplyStep,
  muonMomentumStep,
  slice,
  sqrt,
  sum,
} from '../ops/index.js';
import { muonRow } from '../ops/muon.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import type { Tensor } from '../tensor/tensor.js';
import { viewOf } from '../tensor/view.js';
import { type AdamWHyper, adamwDefaults, adamwRowOf } from './adamw.js';
import {
  groupsOf,
  Optimizer,
  type OptimizerOptions,
  type ParamGroup,
  type Params,
  type Run,
} from './optimizer.js';

export interface MuonHyper {
  /** Learning rate. Default 0.02. */
  lr: number;
  /** M = momentum M + (1 - momentum) g. Default 0.95. */
  momentum: number;
  /** Steps along (1 - momentum) g + momentum M. Default true. */
  nesterov: boolean;
  /** Decoupled. Default 0. */
  weightDecay: number;
}

export interface MuonOptions extends Partial<MuonHyper>, OptimizerOptions {
  /**
   * Length of a step along an orthogonal matrix of r rows and c columns: 'spectral' is √max(1, r/c), for learning
   * rates about 0.02; 'moonshot' is 0.2 √max(r, c) (Liu et al., "Muon is scalable for LLM training", 2025), for those
   * of AdamW. Default 'spectral'.
   */
  scaling?: 'spectral' | 'moonshot';
  /** Iterations of Newton-Schulz. Default 5. */
  iterations?: number;
  /** dtype of the iteration. Default float32. */
  dtype?: 'float32' | 'bfloat16';
  /**
   * Orthogonalises the parts of a weight apart that declares them (`Parameter.parts`: the query, key and value
   * projections of a fused one). Default true.
   */
  splitQkv?: boolean;
  /** Embeddings, heads, norms and biases, and AdamW's hyper-parameters for them. Defaults lr 3e-4, betas [0.9, 0.95], eps 1e-10. */
  adamw?: { params: Params<AdamWHyper> } & Partial<AdamWHyper>;
}

/** Singular values of the result lie in [0.68, 1.13] (Jordan et al.). */
const [A, B, C] = [3.4445, -4.775, 2.0315];

/** Equally shaped matrices beside each other in the arena: one batch of the iteration. */
interface Batch {
  /** In elements of the run of hidden weights, which begins the arena. */
  offset: number;
  count: number;
  rows: number;
  columns: number;
  group: number;
  /** Rows of each part of a single matrix whose parts begin where no view can. */
  parts?: readonly number[];
}

export class Muon extends Optimizer {
  readonly scaling: 'spectral' | 'moonshot';
  readonly iterations: number;
  readonly dtype: 'float32' | 'bfloat16';
  readonly splitQkv: boolean;
  #batches: { key: string; list: readonly Batch[] } = { key: '', list: [] };

  /**
   * @param params weight matrices of hidden layers ([out, in]); `parametersByRole(model).hidden` finds them
   * @param options.adamw the other parameters
   */
  constructor(params: Params<MuonHyper>, options: MuonOptions = {}) {
    const {
      maxNorm,
      scaling = 'spectral',
      iterations = 5,
      dtype = 'float32',
      splitQkv = true,
      adamw,
      ...hyper
    } = options;
    check({ scaling, iterations, dtype });
    const hidden = groupsOf('Muon', params, muonDefaults, hyper);
    const { params: rest = [], ...adamwHyper } = adamw ?? {};
    const others = groupsOf('Muon', rest, { ...adamwDefaults, ...muonsAdamW }, adamwHyper);
    for (const group of hidden) {
      for (const p of group.params)
        if (p.rank !== 2) throw new ShapeError(`${p} is no matrix`, { op: 'Muon', hint: 'give it to adamw' });
      // Equal shapes beside each other make large batches.
      group.params = [...group.params].sort((p, q) => byShape(p).localeCompare(byShape(q)));
    }
    super(
      'Muon',
      [
        {
          groups: hidden,
          row: (group, factor) => {
            const { lr, weightDecay, momentum, nesterov } = group as ParamGroup<MuonHyper>;
            return muonRow(lr * factor, weightDecay, momentum, nesterov);
          },
          moments: ['momentum'],
        },
        {
          groups: others,
          row: (group, factor) => adamwRowOf(group as ParamGroup<AdamWHyper>, factor),
          moments: ['m', 'v'],
        },
      ],
      { maxNorm },
    );
    this.scaling = scaling;
    this.iterations = iterations;
    this.dtype = dtype;
    this.splitQkv = splitQkv;
  }

  protected update(scalars: Tensor, active: readonly boolean[]): void {
    const [hidden, others] = this.runs as [Run, Run];
    const { m, v } = others.moments as { m: Tensor; v: Tensor };
    const rest = this.operands(others, active);
    if (rest) adamwStep(rest.values, rest.grads, m, v, rest.blocks, rest.groups, rest.steps, scalars);
    const o = this.operands(hidden, active);
    if (!o) return;
    const directions = muonMomentumStep(o.grads, hidden.moments.momentum!, o.blocks, o.groups, scalars);
    for (const { offset, count, rows, columns, group, parts } of this.#plan(active)) {
      const shape = [count, rows, columns];
      const u = viewOf(directions, offset, shape);
      const x = parts ? this.#apart(u, parts) : this.#orthogonal(u);
      muonApplyStep(viewOf(o.values, offset, shape), x, o.groups, scalars, { group });
    }
  }

  /** The batches of the parameters that take part. */
  #plan(active: readonly boolean[]): readonly Batch[] {
    const key = active.join();
    if (this.#batches.key === key) return this.#batches.list;
    const list: Batch[] = [];
    let i = 0;
    this.runs[0]!.groups.forEach(({ params }, group) => {
      for (const p of params) {
        const offset = this.arena.offsets[i]!;
        if (active[i++] && p.size > 0) append(list, p, offset, group, this.splitQkv);
      }
    });
    this.#batches = { key, list };
    return list;
  }

  /** Parts of a matrix that begin where no view can: cut out, and joined again. */
  #apart(u: Tensor, parts: readonly number[]): Tensor {
    let row = 0;
    return concat(
      parts.map((rows) => {
        const part = slice(u, { starts: [0, row], ends: [1, row + rows] });
        row += rows;
        return this.#orthogonal(part);
      }),
      { axis: 1 },
    );
  }

  /** X of U [k, r, c], about U (UᵀU)^(-1/2): X = U / |U|, then a X + (b A + c A²) X, A = X Xᵀ; times the step's length. */
  #orthogonal(u: Tensor): Tensor {
    const [, rows, columns] = u.shape as [number, number, number];
    const norm = sqrt(sum(mul(u, u), { axis: [1, 2], keepDims: true }));
    let x = div(u, add(norm, 1e-7));
    if (this.dtype !== 'float32') x = cast(x, { dtype: this.dtype });
    for (let i = 1; i <= this.iterations; i++) {
      const length = i < this.iterations ? 1 : lengthOf(this.scaling, rows, columns);
      // The smaller of X Xᵀ and Xᵀ X: (b A + c A²) X = X (b A' + c A'²).
      const tall = rows > columns;
      const a = matmul(x, x, undefined, { transposeA: tall, transposeB: !tall });
      const polynomial = axpbyStep(a, matmul(a, a), { a: B, b: C });
      const rest = tall ? matmul(x, polynomial) : matmul(polynomial, x);
      x = axpbyStep(x, rest, { a: A * length, b: length });
    }
    return x;
  }
}

/** Adds a parameter's matrices to the batches: to the last, where they are alike and follow it. */
function append(list: Batch[], p: Tensor, offset: number, group: number, split: boolean): void {
  const [rows, columns] = p.shape as [number, number];
  const parts = (split && p instanceof Parameter && p.parts) || [rows];
  const starts = parts.map((_, k) => offset + columns * parts.slice(0, k).reduce((a, b) => a + b, 0));
  if (!starts.every((at) => at % BLOCK === 0)) {
    list.push({ offset, count: 1, rows, columns, group, parts });
    return;
  }
  parts.forEach((height, k) => {
    const last = list.at(-1);
    const follows = last && last.offset + last.count * last.rows * last.columns === starts[k];
    const alike =
      follows && !last.parts && last.rows === height && last.columns === columns && last.group === group;
    if (alike) last.count++;
    else list.push({ offset: starts[k]!, count: 1, rows: height, columns, group });
  });
}

const lengthOf = (scaling: 'spectral' | 'moonshot', rows: number, columns: number): number =>
  scaling === 'spectral' ? Math.sqrt(Math.max(1, rows / columns)) : 0.2 * Math.sqrt(Math.max(rows, columns));

const muonDefaults: MuonHyper = { lr: 0.02, momentum: 0.95, nesterov: true, weightDecay: 0 };

const muonsAdamW: Partial<AdamWHyper> = { lr: 3e-4, betas: [0.9, 0.95], eps: 1e-10 };

const byShape = ({ shape }: Tensor): string => shape.map((d) => String(d).padStart(10, '0')).join();

function check({
  scaling,
  iterations,
  dtype,
}: Required<Pick<MuonOptions, 'scaling' | 'iterations' | 'dtype'>>): void {
  const op = 'Muon';
  if (scaling !== 'spectral' && scaling !== 'moonshot')
    throw new ArgumentError(`unknown scaling '${String(scaling)}'`, { op, hint: "'spectral' or 'moonshot'" });
  if (!Number.isInteger(iterations) || iterations < 1)
    throw new ArgumentError(`iterations is ${String(iterations)}`, { op, hint: 'it is at least 1' });
  if (dtype !== 'float32' && dtype !== 'bfloat16')
    throw new ArgumentError(`dtype is ${String(dtype)}`, { op, hint: "'float32' or 'bfloat16'" });
}
