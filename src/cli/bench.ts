/** `attn-vk bench`: the benchmarks of a clone; an installed package has none. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { closest } from 'fastest-levenshtein';
import { textTable } from '../report/table.js';
import { ArgumentError, DataError } from '../runtime/errors.js';
import { packageRoot } from '../runtime/load.js';
import { FAILED, signalStatus } from './exit.js';
import { print, printJson } from './output.js';

interface Benchmark {
  name: string;
  script: string;
  here: boolean;
}

/** npm's scripts name them: "bench:train": "node dist/bench/train.js". */
export function benchmarks(): Benchmark[] {
  const { scripts } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));
  return Object.entries<string>(scripts).flatMap(([key, run]) => {
    const name = /^bench:(.+)$/.exec(key)?.[1];
    const file = /^node (\S+)/.exec(run)?.[1];
    // bench:readme writes down what the others measured.
    if (!name || !file || name === 'readme') return [];
    const script = join(packageRoot(), file);
    return [{ name, script, here: existsSync(script) }];
  });
}

export function benchCommand(program: Command): void {
  program
    .command('bench')
    .description('run a benchmark of a clone of attn-vk; list them where none is named')
    .argument('[benchmark]', 'which one; what follows is its own: attn-vk bench train --quick')
    .argument('[options...]', 'of the benchmark: --help lists them')
    .option('--json', 'print the list as JSON')
    .passThroughOptions()
    .action(async (name: string | undefined, rest: string[], options: { json?: boolean }) => {
      const all = benchmarks();
      if (name === undefined) return list(all, options.json);
      const found = all.find((b) => b.name === name);
      if (!found)
        throw new ArgumentError(`there is no benchmark '${name}'`, {
          hint: `did you mean '${closest(
            name,
            all.map((b) => b.name),
          )}'? attn-vk bench lists them`,
        });
      if (!found.here)
        throw new DataError(`${found.script} is not there: an installed package has no benchmarks`, {
          hint: `run it in a clone of attn-vk: npm run bench:${name}`,
        });
      process.exitCode = await run(found.script, rest);
    });
}

function list(all: readonly Benchmark[], json: boolean | undefined): void {
  if (json) printJson(all);
  else
    print(
      textTable(
        all.map(({ name, here }) => ({
          benchmark: name,
          command: `npm run bench:${name}`,
          here: here ? 'yes' : 'no',
        })),
      ),
    );
}

function run(script: string, rest: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [script, ...rest], { stdio: 'inherit' });
  // The terminal sends its signals to the child as well; this process waits for what comes of them.
  const wait = () => {};
  process.on('SIGINT', wait);
  const end = () => void child.kill('SIGTERM');
  process.on('SIGTERM', end);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      process.off('SIGINT', wait);
      process.off('SIGTERM', end);
      resolve(code ?? (signal === 'SIGINT' || signal === 'SIGTERM' ? signalStatus(signal) : FAILED));
    });
  });
}
