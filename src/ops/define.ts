/** `defineOp`: completes an op of the contract and makes it callable. Op files import everything from here. */
import { ArgumentError } from '../runtime/errors.js';
import { describe } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Op, OpDefinition, Operand } from './contract.js';
import { record } from './record.js';

export * from './contract.js';

/** The tensor arguments that may not be left out. */
type Needed<Args extends unknown[]> = Args extends [infer First, ...infer Rest]
  ? [First, ...Needed<Rest>]
  : [];

/** What a call takes: attributes come last, and may follow the required arguments: `matmul(a, b, { … })`. */
export type Given<Args extends unknown[], A extends object> =
  | [...Args, attrs?: Partial<A>]
  | [...Needed<Args>, attrs?: Partial<A>];

/** Ops are callable: `softmax(x, { axis: -1 })`, and carry their definition. */
export type Callable<A extends object, Args extends unknown[], R = Tensor> = ((
  ...args: Given<Args, A>
) => R) & {
  readonly op: Op<A>;
  /** For types alone: ops/methods.ts reads the arguments here. */
  readonly signature?: { args: Args; attrs: A; result: R };
};

let defined = 0;

/**
 * Completes an op definition and makes it callable. `Args` lists the tensor arguments, for example
 * `defineOp<[x: Tensor]>()({...})`; `R` is what a call returns where `results` is not 1, for example a tuple.
 */
export const defineOp =
  <Args extends unknown[], R = Tensor>() =>
  <A extends object>(definition: OpDefinition<A>): Callable<A, Args, R> => {
    const inputSpecs = definition.inputs.map((i) => (typeof i === 'string' ? { name: i } : i));
    const op: Op<A> = { ...definition, inputSpecs, id: defined++ };
    const most = inputSpecs.length;
    const least = most - (op.optional ?? 0);
    const results = op.results ?? 1;
    const call = (...args: unknown[]): unknown => {
      const given = args.length;
      // The attributes are the trailing plain object, if there is one.
      const last = args[given - 1];
      const attrs = isAttrs(last) ? checkAttrs(op, last as Partial<A>) : undefined;
      let operands = attrs === undefined ? args : args.slice(0, -1);
      if (op.variadic && Array.isArray(operands[0])) operands = operands[0] as unknown[];
      while (operands.length > least && operands[operands.length - 1] === undefined)
        operands = operands.slice(0, -1);
      if (operands.length < least || (operands.length > most && !op.variadic))
        throw new ArgumentError(
          `expected ${least < most ? `${least} or ` : ''}${most}${op.variadic ? ' or more' : ''} tensors but got ${operands.length}`,
          { op: op.name, hint: `call it as ${usage(op)}` },
        );
      const outputs = record(op as unknown as Op, operands as Operand[], attrs);
      for (let i = results; i < outputs.length; i++) outputs[i]!.dispose();
      return results === 1 ? outputs[0] : results === 0 ? undefined : outputs.slice(0, results);
    };
    return Object.assign(call, { op }) as unknown as Callable<A, Args, R>;
  };

const isAttrs = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;

/** `concat([x, …], { axis })`: how an op is called, by its name or that of its export. */
export function usage<A extends object>(op: Op<A>, name = op.name): string {
  const { inputSpecs, optional = 0, variadic, attrs } = op;
  const names = inputSpecs.map((s, i) => (i >= inputSpecs.length - optional ? `${s.name}?` : s.name));
  const operands = variadic ? [`[${names.join(', ')}, …]`] : names;
  const keys = Object.keys(attrs);
  return `${name}(${[...operands, ...(keys.length > 0 ? [`{ ${keys.join(', ')} }`] : [])].join(', ')})`;
}

/**
 * Attributes are numbers, flags, words, and lists of numbers: what their defaults are, where null stands for a list
 * or an axis. One that is undefined was left out. Ranges are the business of `infer`.
 */
export function checkAttrs<A extends object>(op: Op<A>, attrs: Partial<A>): Partial<A> {
  let left: Partial<A> | undefined;
  for (const key of Object.keys(attrs) as (keyof A & string)[]) {
    if (!Object.hasOwn(op.attrs, key))
      throw new ArgumentError(`unknown attribute '${key}'`, {
        op: op.name,
        hint: `${op.name} takes ${Object.keys(op.attrs).join(', ') || 'no attributes'}`,
      });
    const value: unknown = attrs[key];
    const usual: unknown = op.attrs[key];
    if (value === undefined) {
      left ??= { ...attrs };
      delete left[key];
    } else if (typeof usual === 'object') {
      if (value === null || typeof value === 'number') continue;
      const list = isList(value) ? Array.from(value) : [value];
      if (!list.every((v) => typeof v === 'number')) throw wrongKind(op.name, key, value, 'numbers');
      if (!Array.isArray(value)) (left ??= { ...attrs })[key] = list as A[typeof key];
    } else if (typeof value !== typeof usual) throw wrongKind(op.name, key, value, `a ${typeof usual}`);
  }
  return left ?? attrs;
}

const isList = (value: unknown): value is ArrayLike<unknown> & Iterable<unknown> =>
  Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));

const wrongKind = (op: string, key: string, value: unknown, wanted: string): ArgumentError =>
  new ArgumentError(`attribute '${key}' must be ${wanted} but is ${describe(value)}`, {
    op,
    hint: `give ${wanted}, or leave ${key} out`,
  });

export const isOp = (value: unknown): value is Callable<object, unknown[]> =>
  typeof value === 'function' && typeof (value as { op?: Op }).op?.reference === 'function';
