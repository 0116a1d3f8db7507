/** Flags that the benchmarks share. Wrong usage ends with status 2. */
import { Command, CommanderError, InvalidArgumentError } from 'commander';

export const list = (text: string): string[] => text.split(',').filter(Boolean);

export function sizes(text: string): number[] {
  const parsed = list(text).map(Number);
  if (parsed.length === 0 || parsed.some((n) => !Number.isInteger(n) || n < 1))
    throw new InvalidArgumentError('give positive integers: 512,1024');
  return parsed;
}

export interface Common {
  quick?: boolean;
  json?: string;
  check?: boolean;
}

export const command = (name: string, description: string): Command =>
  new Command(name)
    .description(description)
    .option('--quick', 'fewer samples: minutes become seconds, and figures less certain')
    .option('--json <file>', 'write the figures as JSON')
    .option('--check', 'exit with status 1 where a figure falls short of bench/bounds.json')
    .exitOverride();

/** The flags, or undefined where the process should end: status 0 after --help, 2 after wrong usage. */
export function parse<T extends Common>(program: Command): T | undefined {
  try {
    return program.parse().opts<T>();
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return undefined;
  }
}
