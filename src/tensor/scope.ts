/**
 * Scopes end the tensors that were made in them: `scope(() => …)` for functions and async functions alike.
 * What the function returns, and what was given to `keep`, lives on in the scope around it.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { ArgumentError } from '../runtime/errors.js';
import { describe } from './shape.js';

/** What a scope needs of a tensor; tensor.ts imports this file, not the other way round. */
export interface Scoped {
  readonly runtime: { flush(): void };
  readonly disposed: boolean;
  dispose(): void;
  unscoped(): void;
}

class Scope {
  readonly tensors = new Set<Scoped>();
  closed = false;
  constructor(readonly parent: Scope | undefined) {}
}

const scopes = new AsyncLocalStorage<Scope>();
let used = false; // until the first scope there is nothing to look up

/** A new tensor belongs to the innermost scope; false where there is none. */
export function enroll(tensor: Scoped): boolean {
  if (!used) return false;
  let scope = scopes.getStore();
  while (scope?.closed) scope = scope.parent; // work that its scope did not wait for
  if (!scope) return false;
  scope.tensors.add(tensor);
  return true;
}

/** Takes a tensor out of every scope: it lives until `dispose()` or the garbage collector. */
export function keep<T extends Scoped>(tensor: T): T {
  if (typeof tensor !== 'object' || tensor === null || !isTensorLike(tensor))
    throw new ArgumentError(`expected a tensor but got ${describe(tensor)}`, {
      op: 'keep',
      hint: 'keep tensors one by one',
    });
  for (let s = used ? scopes.getStore() : undefined; s; s = s.parent) s.tensors.delete(tensor);
  tensor.unscoped();
  return tensor;
}

/**
 * Runs `fn` and disposes every tensor made in it, except those that it returns (alone or inside arrays, maps and
 * plain objects). On an error all of them are disposed.
 */
export function scope<T>(fn: () => T): T {
  if (typeof fn !== 'function')
    throw new ArgumentError(`expected a function but got ${describe(fn)}`, {
      op: 'scope',
      hint: 'scope(() => …), or scope(async () => …)',
    });
  used = true;
  const parent = scopes.getStore();
  const mine = new Scope(parent);
  const close = (result: unknown) => {
    mine.closed = true;
    let outer = parent;
    while (outer?.closed) outer = outer.parent;
    for (const tensor of tensorsIn(result, new Set())) {
      if (!mine.tensors.delete(tensor)) continue;
      if (outer) outer.tensors.add(tensor);
      else tensor.unscoped();
    }
    const runtimes = new Set<Scoped['runtime']>();
    for (const tensor of mine.tensors) {
      if (tensor.disposed) continue;
      if (!outer) runtimes.add(tensor.runtime);
      tensor.dispose();
    }
    mine.tensors.clear();
    for (const runtime of runtimes) runtime.flush();
  };
  let result: T;
  try {
    result = scopes.run(mine, fn);
  } catch (error) {
    close(undefined);
    throw error;
  }
  if (!(result instanceof Promise)) {
    close(result);
    return result;
  }
  return result.then(
    (value) => {
      close(value);
      return value;
    },
    (error) => {
      close(undefined);
      throw error;
    },
  ) as T;
}

function* tensorsIn(value: unknown, seen: Set<object>): Generator<Scoped> {
  if (typeof value !== 'object' || value === null || seen.has(value)) return;
  seen.add(value);
  if (isTensorLike(value)) yield value;
  else if (Array.isArray(value) || value instanceof Set)
    for (const item of value) yield* tensorsIn(item, seen);
  else if (value instanceof Map) for (const item of value.values()) yield* tensorsIn(item, seen);
  else if (Object.getPrototypeOf(value) === Object.prototype)
    for (const item of Object.values(value)) yield* tensorsIn(item, seen);
}

/** Marks tensors. */
export const brand = Symbol.for('attn-vk.tensor');
const isTensorLike = (value: object): value is Scoped => brand in value;
