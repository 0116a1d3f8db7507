/** Modules: parameters and modules by name, in the order in which they were defined. */
import { pausing } from '../autograd/modes.js';
import { accumulateStep, mul } from '../ops/index.js';
import { scope } from '../tensor/scope.js';
import { checkStateDict, type StateDict, type StateDictMatch } from '../tensor/state-dict.js';
import { Tensor } from '../tensor/tensor.js';
import { Parameter } from './parameter.js';

/**
 * The base of everything that has parameters. A subclass assigns parameters, modules, and arrays of them to fields;
 * their names follow from those: `blocks.0.norm.weight`.
 */
export abstract class Module {
  /** Whether dropout drops. */
  training = true;

  /** Parameters with their names, in the order of definition; a shared one under its first name alone. */
  *namedParameters(): Generator<[name: string, parameter: Parameter]> {
    const seen = new Set<Parameter>();
    for (const [name, child] of this.#children())
      if (child instanceof Parameter && !seen.has(child)) {
        seen.add(child);
        yield [name, child];
      }
  }

  parameters(): Parameter[] {
    return [...this.namedParameters()].map(([, p]) => p);
  }

  /** This module and those in it. */
  *modules(): Generator<Module> {
    yield this;
    for (const [, child] of this.#children()) if (child instanceof Module) yield child;
  }

  /** Number of elements of all parameters. */
  get size(): number {
    return this.parameters().reduce((n, p) => n + p.size, 0);
  }

  /** Sets `training` here and in all modules below. */
  train(on = true): this {
    for (const m of this.modules()) m.training = on;
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /** Forgets all gradients. */
  zeroGrad(): void {
    for (const p of this.parameters()) p.grad = null;
  }

  /** A copy of each parameter by name: the caller's to dispose. */
  stateDict(): StateDict {
    return pausing(() =>
      Object.fromEntries([...this.namedParameters()].map(([name, p]) => [name, mul(p, 1)])),
    );
  }

  /**
   * Copies tensors into the parameters of their names. With `strict` the keys must be the same; shapes and dtypes
   * always.
   * @returns the keys that were missing and unexpected: none with `strict`
   * @throws StateDictError that lists what does not fit; then nothing was written
   */
  loadStateDict(dict: StateDict, { strict = true }: { strict?: boolean } = {}): StateDictMatch {
    const mine = new Map(this.namedParameters());
    for (const [name, p] of mine) p.storage('loadStateDict', name);
    const match = checkStateDict(
      'loadStateDict',
      new Map([...mine].map(([name, p]) => [name, p.spec])),
      dict,
      { strict, runtime: mine.values().next().value?.runtime },
    );
    pausing(() =>
      scope(() => {
        for (const [name, p] of mine)
          if (dict[name] && dict[name] !== p) accumulateStep(p, dict[name], { replace: true });
      }),
    );
    return match;
  }

  /**
   * What decides about later calls beside parameters, as JSON: checkpoints keep it, so that a run goes on as it would
   * have. Undefined: nothing does.
   */
  async carried(): Promise<unknown> {
    return undefined;
  }

  /** Goes on from what `carried` gave. */
  carry(_state: unknown): void {}

  /** Ends the parameters and every tensor that the module keeps. */
  dispose(): void {
    for (const [, child] of this.#children()) child.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Fields that are tensors or modules, and those of the modules; not what leads back to a module above. */
  *#children(prefix = '', above: readonly Module[] = [this]): Generator<[string, Tensor | Module]> {
    for (const [field, value] of Object.entries(this)) {
      const items: [string, unknown][] = Array.isArray(value)
        ? value.map((item, i) => [`${field}.${i}`, item])
        : [[field, value]];
      for (const [name, item] of items) {
        if (item instanceof Tensor) yield [prefix + name, item];
        else if (item instanceof Module && !above.includes(item)) {
          yield [prefix + name, item];
          yield* item.#children(`${prefix}${name}.`, [...above, item]);
        }
      }
    }
  }
}

/** Runs `fn`, which is not async, in evaluation mode; each module is then in the mode that it was in before. */
export function evaluating<T>(model: Module, fn: () => T): T {
  const modes = [...model.modules()].map((m) => [m, m.training] as const);
  model.eval();
  try {
    return fn();
  } finally {
    for (const [m, training] of modes) m.training = training;
  }
}

/** The parameters of a model by what optimisers do with them: Muon takes `hidden`, weight decay leaves out `vectors`. */
export function parametersByRole(model: Module): {
  hidden: Parameter[];
  tables: Parameter[];
  vectors: Parameter[];
} {
  const all = model.parameters();
  const of = (role: Parameter['role']) => all.filter((p) => p.role === role);
  return { hidden: of('hidden'), tables: of('table'), vectors: of('vector') };
}
