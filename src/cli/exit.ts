/**
 * How a command ends.
 *
 * | status | meaning |
 * |---|---|
 * | 0 | done |
 * | 1 | failed |
 * | 2 | wrong usage or configuration |
 * | 3 | something that the command needs is not there, or is broken: data, checkpoint, device, disk |
 * | 130, 143 | stopped by SIGINT (Ctrl-C), SIGTERM |
 */
import { constants } from 'node:os';
import { CommanderError } from 'commander';
import {
  ArgumentError,
  AttnError,
  CheckpointError,
  ConfigError,
  DataError,
  DeviceError,
  DTypeError,
  FormatError,
  ShapeError,
  StateDictError,
  StorageError,
} from '../runtime/errors.js';

export const DONE = 0;
export const FAILED = 1;
export const USAGE = 2;
export const MISSING = 3;

/** Errors that are not here are failures. */
const statuses: readonly [new (...args: never[]) => AttnError, number][] = [
  [ConfigError, USAGE],
  [ArgumentError, USAGE],
  [ShapeError, USAGE],
  [DTypeError, USAGE],
  [DataError, MISSING],
  [CheckpointError, MISSING],
  [FormatError, MISSING],
  [StateDictError, MISSING],
  [DeviceError, MISSING],
  [StorageError, MISSING],
];

/** Null for what is no error of ours: a bug, whose stack is worth seeing. */
export function exitStatus(error: unknown): number | null {
  if (error instanceof CommanderError) return error.exitCode === 0 ? DONE : USAGE;
  if (!(error instanceof AttnError)) return null;
  return statuses.find(([Class]) => error instanceof Class)?.[1] ?? FAILED;
}

/** What shells show for a process that a signal ended. */
export const signalStatus = (signal: 'SIGINT' | 'SIGTERM'): number => 128 + constants.signals[signal];
