/** What every error of the family owes its reader, asserted in one place. */
import { expect } from 'vitest';
import * as family from '../../src/runtime/errors.js';

const classOf: Record<string, string> = {
  ATTN_SHAPE: 'ShapeError',
  ATTN_DTYPE: 'DTypeError',
  ATTN_ARGUMENT: 'ArgumentError',
  ATTN_INDEX: 'IndexError',
  ATTN_DISPOSED: 'DisposedError',
  ATTN_DEVICE: 'DeviceError',
  ATTN_DEVICE_LOST: 'DeviceLostError',
  ATTN_OUT_OF_MEMORY: 'OutOfMemoryError',
  ATTN_GRAD: 'GradError',
  ATTN_STATE_DICT: 'StateDictError',
  ATTN_CONFIG: 'ConfigError',
  ATTN_DATA: 'DataError',
  ATTN_FORMAT: 'FormatError',
  ATTN_CHECKPOINT: 'CheckpointError',
  ATTN_STORAGE: 'StorageError',
  ATTN_INTERNAL: 'InternalError',
};

/** The right class for its code, an op where one failed, and a hint. */
export function expectTyped(
  error: unknown,
  wanted: { code?: string; op?: string; says?: RegExp } = {},
): family.AttnError {
  if (!(error instanceof family.AttnError))
    throw new Error(`expected one of the family but got ${error}`, { cause: error });
  expect(classOf, `the code of: ${error}`).toHaveProperty(error.code);
  expect(error.name).toBe(classOf[error.code]);
  expect(error).toBeInstanceOf((family as unknown as Record<string, new () => unknown>)[error.name]);
  if (wanted.code) expect(error.code, error.message).toBe(wanted.code);
  if (wanted.op) {
    expect(error.op, error.message).toBe(wanted.op);
    expect(error.message).toContain(`${wanted.op}()`);
  }
  if (wanted.says) expect(error.message).toMatch(wanted.says);
  expect(error.hint, `a hint in: ${error.message}`).toBeTruthy();
  expect(error.message).toContain(error.hint);
  return error;
}

/** Runs `fn` and returns what it threw, or rejected with. */
export async function failureOf(fn: () => unknown): Promise<unknown> {
  let value: unknown;
  try {
    value = await fn();
  } catch (error) {
    return error;
  }
  throw new Error(`expected an error but got ${String(value)}`);
}

/** That it was refused by an error of the family, which it returns. */
export const refused = async (fn: () => unknown, code: string, says: RegExp): Promise<family.AttnError> =>
  expectTyped(await failureOf(fn), { code, says });
