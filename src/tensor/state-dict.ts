/** Named tensors: what modules and optimisers save and load. */
import { ArgumentError, DeviceError, StateDictError } from '../runtime/errors.js';
import type { Runtime } from '../runtime/runtime.js';
import { describe, type Spec, show } from './shape.js';
import { Tensor } from './tensor.js';

export type StateDict = Record<string, Tensor>;

/** What of a state dict fits, and what does not. */
export interface StateDictMatch {
  /** Wanted keys that were not given. */
  missing: string[];
  /** Given keys that are not wanted. */
  unexpected: string[];
}

/**
 * Checks a state dict before anything is written. Shapes and dtypes always fit; keys must with `strict`.
 * @throws StateDictError with the lists of missing, unexpected and misshaped keys
 */
export function checkStateDict(
  op: string,
  wanted: ReadonlyMap<string, Spec>,
  given: unknown,
  { strict, runtime }: { strict: boolean; runtime: Runtime | undefined },
): StateDictMatch {
  if (typeof given !== 'object' || given === null || given instanceof Tensor)
    throw new ArgumentError(`expected a state dict but got ${describe(given)}`, {
      op,
      hint: 'an object of tensors by name, as stateDict() gives',
    });
  const dict = given as Record<string, unknown>;
  const missing = [...wanted.keys()].filter((key) => !Object.hasOwn(dict, key));
  const unexpected = Object.keys(dict).filter((key) => !wanted.has(key));
  const misshaped: string[] = [];
  for (const [key, spec] of wanted) {
    if (!Object.hasOwn(dict, key)) continue;
    const value = dict[key];
    if (!(value instanceof Tensor)) misshaped.push(`${key}: ${describe(value)}, not a tensor`);
    else if (value.spec !== spec)
      misshaped.push(
        `${key}: ${show(value.shape, value.dtype)} given, ${show(spec.shape, spec.dtype)} wanted`,
      );
    // DisposedError, before anything is written
    else if (value.storage(op, key).runtime !== runtime)
      throw new DeviceError(`'${key}' belongs to another runtime`, {
        op,
        hint: 'read it with data() and make a tensor of it there',
      });
  }
  if (misshaped.length === 0 && (!strict || missing.length + unexpected.length === 0))
    return { missing, unexpected };
  const lines = [
    ['missing', missing],
    ['unexpected', unexpected],
    ['misshaped', misshaped],
  ] as const;
  const error = new StateDictError(
    `the state dict does not fit${lines.map(([what, keys]) => (keys.length > 0 ? `\n  ${what}: ${keys.join(', ')}` : '')).join('')}`,
    {
      op,
      hint:
        misshaped.length > 0
          ? 'was it saved from another configuration?'
          : 'give { strict: false } to load what fits',
    },
  );
  throw Object.assign(error, { missing, unexpected, misshaped });
}
