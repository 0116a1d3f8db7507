/** Flags that the benchmarks share. Wrong usage ends with status 2. */
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { ArgumentError, AttnError, DeviceError } from '../../src/runtime/errors.js';

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

/**
 * Parses and runs. Status 2 for wrong usage - an unknown flag, or a name that does not exist -, 1 for what the
 * library refuses or a figure that is wrong, 3 where a device was named and is not there.
 */
export async function run<T>(program: Command, main: (options: T) => Promise<number>): Promise<void> {
  try {
    process.exitCode = await main(program.parse().opts() as T);
  } catch (error) {
    // commander has already said what is wrong; --help ends here too, with status 0.
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
    else if (error instanceof AttnError) {
      process.stderr.write(`${program.name()}: ${error.message}\n`);
      process.exitCode = error instanceof DeviceError ? 3 : error instanceof ArgumentError ? 2 : 1;
    } else throw error;
  }
}
