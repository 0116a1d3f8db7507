/** Options that commands share, and how their values are read. */
import { InvalidArgumentError, Option } from 'commander';

/** `--set a.b=c`, once for each value. One value an option, so that none takes the word that follows for another. */
export const setOption = (): Option =>
  new Option(
    '--set <path=value>',
    'change a value of the configuration, as train.steps=100; may be repeated',
  ).argParser((text: string, before: string[] = []) => [...before, text]);

export const latestOption = (): Option =>
  new Option('--latest', 'of a run: the latest checkpoint, not the best one');

export function whole(text: string): number {
  const n = Number(text);
  if (text.trim() === '' || !Number.isSafeInteger(n) || n < 0)
    throw new InvalidArgumentError('Give a whole number, 0 or more.');
  return n;
}

export function positive(text: string): number {
  const n = whole(text);
  if (n === 0) throw new InvalidArgumentError('Give a whole number, 1 or more.');
  return n;
}

/** A number of 0 or more. */
export function real(text: string): number {
  const n = Number(text);
  if (text.trim() === '' || !Number.isFinite(n) || n < 0)
    throw new InvalidArgumentError('Give a number, 0 or more.');
  return n;
}

/** A probability that is not 0. */
export function share(text: string): number {
  const n = real(text);
  if (n === 0 || n > 1) throw new InvalidArgumentError('Give a number above 0, and 1 at most.');
  return n;
}
