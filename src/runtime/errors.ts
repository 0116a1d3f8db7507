/**
 * One family of errors with stable codes. A message says what was got and what was expected;
 * `hint` says what to do. Native errors arrive as plain errors with a code and are raised again
 * as the class that belongs to it.
 */

export class AttnError extends Error {
  readonly code: string;
  /** The op that failed, where one did. */
  readonly op: string | undefined;
  /** What to do about it. */
  readonly hint: string | undefined;
  /** The message without op and hint. */
  readonly what: string;

  constructor(code: string, message: string, options: { op?: string; hint?: string; cause?: unknown } = {}) {
    const where = options.op ? `${options.op}(): ` : '';
    const advice = options.hint ? `\n  hint: ${options.hint}` : '';
    super(`${where}${message}${advice}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.op = options.op;
    this.hint = options.hint;
    this.what = message;
  }

  /** The same error, saying which op it stopped. */
  of(op: string): AttnError {
    const Class = classes[this.code];
    return Class ? new Class(this.what, { op, hint: this.hint, cause: this }) : this;
  }
}

type Details = { op?: string; hint?: string; cause?: unknown };

/** A family member whose code is fixed: `new ShapeError('…', { op, hint })`. */
const member = (code: string) =>
  class extends AttnError {
    constructor(message: string, details: Details = {}) {
      super(code, message, details);
    }
  };

/** Shapes that do not fit the op or each other; an impossible dimension. */
export class ShapeError extends member('ATTN_SHAPE') {}
/** A dtype that the op does not take, or two that had to be equal. */
export class DTypeError extends member('ATTN_DTYPE') {}
/** An argument or attribute of the wrong kind or out of its range; a foreign object where a tensor belongs. */
export class ArgumentError extends member('ATTN_ARGUMENT') {}
/** An index that points outside its axis, found while the op ran. */
export class IndexError extends member('ATTN_INDEX') {}
/** A tensor, scope or runtime used after it was disposed. */
export class DisposedError extends member('ATTN_DISPOSED') {}
/** No such device, or one that cannot do what was asked. */
export class DeviceError extends member('ATTN_DEVICE') {}
/** The device was lost (reset, watchdog, unplugged); work in flight on it is gone. */
export class DeviceLostError extends member('ATTN_DEVICE_LOST') {}
/** The host or the device has no room left within its budget. */
export class OutOfMemoryError extends member('ATTN_OUT_OF_MEMORY') {}
/** The native addon could not be loaded: `attempts` lists each path and why it failed. */
export class NativeLoadError extends member('ATTN_NATIVE_LOAD') {
  attempts: { path: string; reason: string }[] = [];
}
/** A gradient that does not exist, was asked for twice, or is not finite where that was watched for. */
export class GradError extends member('ATTN_GRAD') {}
/** A state dict that does not fit what it is loaded into: the lists say where. */
export class StateDictError extends member('ATTN_STATE_DICT') {
  missing: readonly string[] = [];
  unexpected: readonly string[] = [];
  misshaped: readonly string[] = [];
}
/** A configuration that cannot be: where it says so, and the nearest thing that can be. */
export class ConfigError extends member('ATTN_CONFIG') {
  /** The key, 'train.lr'. */
  path = '';
  file: string | undefined;
  /** From 1. */
  line: number | undefined;
  column: number | undefined;
}
/** Data that is not there, or is not what was expected: empty, too short, binary where text belongs. */
export class DataError extends member('ATTN_DATA') {}
/** A file that breaks its format: safetensors, npy, tokenizer.json and their like. */
export class FormatError extends member('ATTN_FORMAT') {}
/** A checkpoint that is truncated, corrupted, or of another model. */
export class CheckpointError extends member('ATTN_CHECKPOINT') {}
/** A folder that cannot be written, a disk that is full. */
export class StorageError extends member('ATTN_STORAGE') {}
/** A bug in attn-vk itself. */
export class InternalError extends member('ATTN_INTERNAL') {}

const classes: Record<string, new (message: string, details?: Details) => AttnError> = {
  ATTN_SHAPE: ShapeError,
  ATTN_DTYPE: DTypeError,
  ATTN_ARGUMENT: ArgumentError,
  ATTN_INDEX: IndexError,
  ATTN_DISPOSED: DisposedError,
  ATTN_DEVICE: DeviceError,
  ATTN_DEVICE_LOST: DeviceLostError,
  ATTN_OUT_OF_MEMORY: OutOfMemoryError,
  ATTN_GRAD: GradError,
  ATTN_STATE_DICT: StateDictError,
  ATTN_CONFIG: ConfigError,
  ATTN_DATA: DataError,
  ATTN_FORMAT: FormatError,
  ATTN_CHECKPOINT: CheckpointError,
  ATTN_STORAGE: StorageError,
  ATTN_INTERNAL: InternalError,
};

/** Turns what the addon threw or rejected with into the member of the family that its code names. */
export function fromNative(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof AttnError) return error;
  const { code, op, hint } = error as Error & { code?: string; op?: string; hint?: string };
  const Class = code === undefined ? undefined : classes[code];
  if (!Class) return error;
  return new Class(error.message, { op: op || undefined, hint: hint || undefined, cause: error });
}
