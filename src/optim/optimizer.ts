/**
 * What optimisers share: groups of parameters with hyper-parameters, the arena that holds them, gradient clipping,
 * the count of steps that were skipped because a gradient was not finite, and their state.
 */
import { pausing } from '../autograd/modes.js';
import { BLOCK, COLUMNS, NO_GROUP } from '../ops/flat.js';
import { accumulateStep, add, concat, gradNormStep, mul, slice } from '../ops/index.js';
import { ArgumentError } from '../runtime/errors.js';
import { keep, scope } from '../tensor/scope.js';
import { describe, type Spec, spec } from '../tensor/shape.js';
import { checkStateDict, type StateDict } from '../tensor/state-dict.js';
import { Tensor, tensor } from '../tensor/tensor.js';
import { viewOf } from '../tensor/view.js';
import { Arena } from './arena.js';

/** Parameters that share hyper-parameters H. */
export type ParamGroup<H> = H & { params: readonly Tensor[] };

/** Parameters as an optimiser takes them: all alike, or in groups, whose hyper-parameters stand before the optimiser's. */
export type Params<H> = Iterable<Tensor> | readonly ({ params: Iterable<Tensor> } & Partial<H>)[];

export interface OptimizerOptions {
  /** The global norm to which gradients are clipped inside the step; 0 for none. Default 0. */
  maxNorm?: number;
}

export interface OptimizerState {
  /** Hyper-parameters of each group. */
  groups: Record<string, unknown>[];
  /** By parameter number and moment ('0.m'), and the counts: copies. */
  tensors: StateDict;
}

/** Groups whose parameters one kernel updates, and how their hyper-parameters become a row of its table. */
export interface Family {
  groups: readonly ParamGroup<object>[];
  /** The row of a group, its learning rate times `factor`. */
  row(group: ParamGroup<object>, factor: number): readonly number[];
  /** Names of the flat tensors beside the parameters, under which they are saved. */
  moments: readonly string[];
}

/** A family in the arena: parameters [first, end) in elements [from, from + size). */
export interface Run extends Omit<Family, 'moments'> {
  first: number;
  end: number;
  from: number;
  size: number;
  /** [size] each. */
  moments: Readonly<Record<string, Tensor>>;
  tables: Tables;
}

/** What was uploaded last, to upload only what changed. */
export class Tables {
  #blocks: { key: string; tensor: Tensor } | undefined;
  #rows: { values: readonly number[]; tensor: Tensor } | undefined;

  /** uint8: the group of each block from element `from` on, 255 where its parameter has no part in this step. */
  blocks(arena: Arena, from: number, size: number, groupOf: ReadonlyMap<number, number>): Tensor {
    const key = [...groupOf].join();
    if (this.#blocks?.key === key) return this.#blocks.tensor;
    const entries = new Uint8Array(size / BLOCK).fill(NO_GROUP);
    for (const [i, group] of groupOf) {
      const [first, end] = arena.blocksOf(i);
      entries.fill(group, first - from / BLOCK, end - from / BLOCK);
    }
    this.#blocks?.tensor.dispose();
    this.#blocks = { key, tensor: keep(tensor(entries, undefined, { runtime: arena.runtime })) };
    return this.#blocks.tensor;
  }

  /** float32 [n, columns]. */
  rows(arena: Arena, values: readonly number[], columns: number): Tensor {
    if (this.#rows?.values.length === values.length && values.every((v, i) => v === this.#rows!.values[i]))
      return this.#rows.tensor;
    this.#rows?.tensor.dispose();
    const made = tensor(Float32Array.from(values), [values.length / columns, columns], {
      runtime: arena.runtime,
    });
    this.#rows = { values: [...values], tensor: keep(made) };
    return made;
  }

  dispose(): void {
    this.#blocks?.tensor.dispose();
    this.#rows?.tensor.dispose();
  }
}

export abstract class Optimizer {
  readonly paramGroups: readonly ParamGroup<{ lr: number; weightDecay: number }>[];
  /** A factor of every group's learning rate: what a schedule gives for the step. */
  lrFactor = 1;
  /** The global norm to which gradients are clipped inside the step; 0 for none. */
  maxNorm: number;
  /** Parameters and their gradients. */
  protected readonly arena: Arena;
  /** One for each family. */
  protected readonly runs: readonly Run[];
  /** Steps of each block: [blocks]. */
  readonly #steps: Tensor;
  /** {steps, skipped, 0, 0} */
  readonly #state: Tensor;
  readonly #limit = new Tables();
  readonly #whole = new Tables();
  #scalars: Tensor | undefined;

  constructor(
    readonly name: string,
    families: readonly Family[],
    { maxNorm = 0 }: OptimizerOptions,
  ) {
    this.maxNorm = maxNorm;
    const groups = families.flatMap((f) => f.groups);
    if (groups.length > NO_GROUP - 1)
      throw new ArgumentError(`${groups.length} groups`, { op: name, hint: `at most ${NO_GROUP - 1}` });
    this.paramGroups = groups as ParamGroup<{ lr: number; weightDecay: number }>[];
    this.#check();
    const counts = families.map((f) => f.groups.reduce((n, g) => n + g.params.length, 0));
    const ends = counts.map((_, k) => counts.slice(0, k + 1).reduce((a, b) => a + b, 0));
    const params = groups.flatMap((g) => g.params);
    this.arena = new Arena(params, name, ends);
    this.runs = families.map((family, k) => this.#run(family, ends[k]! - counts[k]!, ends[k]!));
    this.#steps = this.arena.flat(this.arena.size / BLOCK);
    this.#state = this.arena.flat(4);
  }

  #run({ moments, ...family }: Family, first: number, end: number): Run {
    const { arena } = this;
    const from = arena.offsets[first] ?? arena.size;
    const size = end > first ? arena.blocksOf(end - 1)[1] * BLOCK - from : 0;
    return {
      ...family,
      first,
      end,
      from,
      size,
      moments: Object.fromEntries(moments.map((name) => [name, arena.flat(size)])),
      tables: new Tables(),
    };
  }

  /** Changes params, given the outcome of the gradients' norm. `active` says which parameters have a gradient. */
  protected abstract update(scalars: Tensor, active: readonly boolean[]): void;

  /**
   * One step with the gradients that backward() left; parameters without one stay as they are. Where a gradient is not
   * finite nothing changes and the step counts as skipped. Nothing waits for the device.
   */
  step(): void {
    this.arena.check(this.name);
    this.#check();
    const active = this.arena.gathered();
    if (!active.some(Boolean)) return;
    pausing(() =>
      scope(() => {
        const all = new Map(active.flatMap((on, i) => (on ? [[i, 0]] : [])));
        const blocks = this.#whole.blocks(this.arena, 0, this.arena.size, all);
        const limit = this.#limit.rows(this.arena, [this.maxNorm], 1);
        const scalars = gradNormStep(this.arena.grads, blocks, limit, this.#state, this.#steps);
        this.update(scalars, active);
        this.#scalars?.dispose();
        this.#scalars = keep(scalars);
      }),
    );
  }

  /** What a kernel is given of a run: its part of the arena, and its tables; undefined where no parameter takes part. */
  protected operands({ groups, row, first, from, size, tables }: Run, active: readonly boolean[]) {
    const { arena } = this;
    const groupOf = new Map<number, number>();
    let i = first;
    groups.forEach(({ params }, g) => {
      for (const _ of params) {
        if (active[i]) groupOf.set(i, g);
        i++;
      }
    });
    if (groupOf.size === 0 || size === 0) return undefined;
    const rows = groups.flatMap((group) => row(group, this.lrFactor));
    return {
      values: viewOf(arena.values, from, [size]),
      grads: viewOf(arena.grads, from, [size]),
      blocks: tables.blocks(arena, from, size, groupOf),
      groups: tables.rows(arena, rows, COLUMNS),
      steps: viewOf(this.#steps, from / BLOCK, [size / BLOCK]),
    };
  }

  /** The part of a run's flat tensor that belongs to a parameter. */
  #slot(flat: Tensor, { from }: Run, i: number): Tensor {
    return viewOf(flat, this.arena.offsets[i]! - from, this.arena.params[i]!.shape);
  }

  /** Calls fn(i, run) for each parameter. */
  #each(fn: (i: number, run: Run) => void): void {
    for (const run of this.runs) for (let i = run.first; i < run.end; i++) fn(i, run);
  }

  #zeros(size: number): Tensor {
    return tensor(new Float32Array(size), undefined, { runtime: this.arena.runtime });
  }

  /** Forgets all gradients: the next backward() begins anew. */
  zeroGrad(): void {
    for (const p of this.arena.params) p.grad = null;
    this.arena.renew();
  }

  /** Steps that were skipped because a gradient was not finite. */
  async skippedSteps(): Promise<number> {
    return (await this.#state.data())[1]!;
  }

  /** Steps taken, without those skipped. */
  async stepsTaken(): Promise<number> {
    return (await this.#state.data())[0]!;
  }

  /** Global norm of the gradients at the last step, before clipping; NaN before the first. */
  async gradNorm(): Promise<number> {
    return this.#scalars ? (await this.#scalars.data())[0]! : Number.NaN;
  }

  /** A copy of everything but the parameters. Tensors are the caller's to dispose. */
  stateDict(): OptimizerState {
    this.arena.check(`${this.name}.stateDict`);
    return {
      groups: this.paramGroups.map(({ params: _, ...hyper }) => structuredClone(hyper)),
      tensors: pausing(() =>
        scope(() => {
          const tensors: StateDict = { state: mul(this.#state, 1) };
          this.#each((i, run) => {
            const [block, end] = this.arena.blocksOf(i);
            tensors[`${i}.step`] =
              end > block ? slice(this.#steps, { starts: [block], ends: [block + 1] }) : this.#zeros(1);
            for (const [name, flat] of Object.entries(run.moments))
              tensors[`${i}.${name}`] = mul(this.#slot(flat, run, i), 1);
          });
          return tensors;
        }),
      ),
    };
  }

  /** @throws StateDictError that lists what does not fit; then nothing has changed */
  loadStateDict(state: OptimizerState): void {
    const op = `${this.name}.loadStateDict`;
    this.arena.check(op);
    if (typeof state !== 'object' || state === null || !Array.isArray(state.groups))
      throw new ArgumentError(`expected { groups, tensors } but got ${describe(state)}`, {
        op,
        hint: 'as stateDict() gives',
      });
    if (state.groups.length !== this.paramGroups.length)
      throw new ArgumentError(`${state.groups.length} groups given, ${this.paramGroups.length} wanted`, {
        op,
        hint: 'group the parameters as when it was saved',
      });
    const wanted = new Map<string, Spec>([['state', spec([4], 'float32')]]);
    this.#each((i, run) => {
      wanted.set(`${i}.step`, spec([1], 'float32'));
      for (const name of Object.keys(run.moments)) wanted.set(`${i}.${name}`, this.arena.params[i]!.spec);
    });
    checkStateDict(op, wanted, state.tensors, { strict: true, runtime: this.arena.runtime });
    state.groups.forEach((hyper, g) => {
      if (typeof hyper !== 'object' || hyper === null)
        throw new ArgumentError(`group ${g} is ${describe(hyper)}`, { op, hint: 'as stateDict() gives' });
      const { params: _, ...known } = this.paramGroups[g]!;
      checkNames(op, hyper, known);
      checkHyper(op, hyper);
    });
    const { tensors } = state;
    pausing(() =>
      scope(() => {
        accumulateStep(this.#state, tensors.state!, { replace: true });
        const counts: Tensor[] = [];
        let next = 0; // blocks
        this.#each((i, run) => {
          const [block, end] = this.arena.blocksOf(i);
          if (block > next) counts.push(this.#zeros(block - next)); // between runs
          if (end > block) counts.push(add(this.#zeros(end - block), tensors[`${i}.step`]!));
          next = end;
          for (const [name, flat] of Object.entries(run.moments))
            accumulateStep(this.#slot(flat, run, i), tensors[`${i}.${name}`]!, { replace: true });
        });
        if (counts.length > 0) accumulateStep(this.#steps, concat(counts), { replace: true });
      }),
    );
    state.groups.forEach((hyper, g) => {
      Object.assign(this.paramGroups[g]!, structuredClone(hyper));
    });
  }

  /** Ends gradients and moments; the parameters live on, and may join another optimiser. */
  dispose(): void {
    this.arena.dispose();
    this.#scalars?.dispose();
    for (const tables of [this.#limit, this.#whole, ...this.runs.map((r) => r.tables)]) tables.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #check(): void {
    const numbers = { maxNorm: this.maxNorm, lrFactor: this.lrFactor };
    for (const [name, value] of Object.entries(numbers)) checkNumber(this.name, name, value);
    this.paramGroups.forEach((group) => {
      checkHyper(this.name, group);
    });
  }
}

/** `nesterov` is a flag, `betas` two numbers below 1, and every other hyper-parameter a number, finite and not negative. */
function checkHyper(op: string, hyper: object): void {
  for (const [name, value] of Object.entries(hyper) as [string, unknown][]) {
    if (name === 'params') continue;
    const fail = (hint: string): never => {
      throw new ArgumentError(`${name} is ${String(value)}`, { op, hint });
    };
    if (name === 'nesterov') {
      if (typeof value !== 'boolean') fail('it is true or false');
    } else if (name === 'betas') {
      if (!Array.isArray(value) || value.length !== 2) fail('two numbers');
      for (const beta of value as unknown[]) {
        checkNumber(op, name, beta);
        // The mean of gradients is divided by 1 - βᵗ.
        if ((beta as number) >= 1) fail('both are below 1');
      }
    } else {
      checkNumber(op, name, value);
      if (['momentum', 'dampening'].includes(name) && (value as number) > 1) fail('it is at most 1');
    }
  }
}

function checkNumber(op: string, name: string, value: unknown): void {
  if (typeof value !== 'number' || !(value >= 0 && value < Number.POSITIVE_INFINITY))
    throw new ArgumentError(`${name} is ${String(value)}`, { op, hint: 'it is a number, 0 or more' });
}

/** Parameters as given, to groups with all their hyper-parameters. */
export function groupsOf<H extends object>(
  op: string,
  params: Params<H>,
  usual: H,
  given: Partial<H> = {},
): ParamGroup<H>[] {
  checkNames(op, given, usual);
  const defaults = { ...usual, ...given };
  if (typeof params !== 'object' || params === null || !(Symbol.iterator in params))
    throw new ArgumentError(`the parameters are ${describe(params)}`, {
      op,
      hint: 'give model.parameters()',
    });
  const list: readonly unknown[] = [...(params as Iterable<unknown>)];
  const isGroup = (item: unknown): item is { params: Iterable<Tensor> } & Partial<H> =>
    typeof item === 'object' && item !== null && !(item instanceof Tensor) && 'params' in item;
  if (!list.some(isGroup)) return [{ ...defaults, params: list as Tensor[] }];
  return list.map((item) => {
    if (!isGroup(item))
      throw new ArgumentError('groups and single parameters are mixed', { op, hint: 'give groups alone' });
    checkNames(op, item, { ...usual, params: [] });
    return { ...defaults, ...item, params: [...item.params] };
  });
}

/** Nothing is set that nobody reads. */
function checkNames(op: string, given: object, known: object): void {
  for (const key of Object.keys(given))
    if (!Object.hasOwn(known, key))
      throw new ArgumentError(`unknown hyper-parameter '${key}'`, {
        op,
        hint: `there are ${Object.keys(known)
          .filter((name) => name !== 'params')
          .join(', ')}`,
      });
}
