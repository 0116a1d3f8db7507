/** `defineOp`: completes an op of the contract and makes it callable. Op files import everything from here. */
import { ArgumentError } from '../runtime/errors.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Op, OpDefinition, Operand } from './contract.js';
import { record } from './record.js';

export * from './contract.js';

/** Ops are callable: `softmax(x, { axis: -1 })`, and carry their definition. */
export type Callable<A extends object, Args extends unknown[]> = ((
  ...args: [...Args, attrs?: Partial<A>]
) => Tensor) & {
  readonly op: Op<A>;
  /** For types alone: ops/methods.ts reads the arguments here. */
  readonly signature?: { args: Args; attrs: A };
};

let defined = 0;

/**
 * Completes an op definition and makes it callable. `Args` lists the tensor arguments, for example
 * `defineOp<[x: Tensor]>()({...})`.
 */
export const defineOp =
  <Args extends unknown[]>() =>
  <A extends object>(definition: OpDefinition<A>): Callable<A, Args> => {
    const inputSpecs = definition.inputs.map((i) => (typeof i === 'string' ? { name: i } : i));
    const op: Op<A> = { ...definition, inputSpecs, id: defined++ };
    const most = inputSpecs.length;
    const least = most - (op.optional ?? 0);
    const call = (...args: unknown[]): Tensor => {
      const given = args.length;
      // The attributes are the trailing plain object, if there is one.
      const last = args[given - 1];
      const attrs = isAttrs(last) ? (last as Partial<A>) : undefined;
      let operands = attrs === undefined ? args : args.slice(0, -1);
      if (op.variadic && Array.isArray(operands[0])) operands = operands[0] as unknown[];
      while (operands.length > least && operands[operands.length - 1] === undefined)
        operands = operands.slice(0, -1);
      if (operands.length < least || (operands.length > most && !op.variadic))
        throw new ArgumentError(`expected ${op.inputs.length} tensors but got ${operands.length}`, {
          op: op.name,
        });
      if (attrs) checkAttrs(op, attrs);
      return record(op as unknown as Op, operands as Operand[], attrs)[0]!;
    };
    return Object.assign(call, { op }) as unknown as Callable<A, Args>;
  };

const isAttrs = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;

function checkAttrs(op: { name: string; attrs: object }, attrs: object): void {
  for (const key of Object.keys(attrs))
    if (!(key in op.attrs))
      throw new ArgumentError(`unknown attribute '${key}'`, {
        op: op.name,
        hint: `${op.name} takes ${Object.keys(op.attrs).join(', ') || 'no attributes'}`,
      });
}

export const isOp = (value: unknown): value is Callable<object, unknown[]> =>
  typeof value === 'function' && typeof (value as { op?: Op }).op?.reference === 'function';
