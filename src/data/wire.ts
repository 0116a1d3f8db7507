/** What crosses between the training thread and the thread that makes batches. */
import { AttnError, fromNative } from '../runtime/errors.js';
import { tokenizerFrom } from '../tokenizer/index.js';
import type { DataInfo, Packed } from './batches.js';
import type { AnyDataConfig, Split } from './data.js';

/** The worker's own data. */
export interface Opening {
  config: AnyDataConfig;
  seed: number;
}

export interface Request {
  split: Split;
  number: number;
}

/** First of all what was opened, or why not; then one for each request, in their order. */
export type Reply =
  | { info: PlainInfo }
  | { openError: PlainError }
  | (Request & (Packed | { error: PlainError }));

/** The tokenizer crosses as its JSON. */
type PlainInfo = Omit<DataInfo, 'tokenizer'> & { tokenizer: object | null };

export const packInfo = (info: DataInfo): PlainInfo => ({
  ...info,
  tokenizer: info.tokenizer?.toJSON() ?? null,
});

export const unpackInfo = (info: PlainInfo): DataInfo => ({
  ...info,
  tokenizer: info.tokenizer && tokenizerFrom(info.tokenizer),
});

interface PlainError {
  message: string;
  stack: string | undefined;
  /** Of the family: code, op and hint, and what the class has besides. */
  own: Record<string, unknown>;
}

export function packError(error: unknown): PlainError {
  if (!(error instanceof Error)) return { message: String(error), stack: undefined, own: {} };
  const own = Object.fromEntries(
    Object.entries(error).filter(([, value]) => value === null || typeof value !== 'object'),
  );
  return { message: error instanceof AttnError ? error.what : error.message, stack: error.stack, own };
}

/** The same error of the same class; `cause` has the stack that it had in the other thread. */
export function unpackError({ message, stack, own }: PlainError): Error {
  const plain = Object.assign(new Error(message), own);
  plain.stack = stack;
  const typed = fromNative(plain) as Error;
  return typed === plain ? plain : Object.assign(typed, own);
}
