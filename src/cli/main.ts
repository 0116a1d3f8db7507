/** The whole command: one file for each, exit.ts has the statuses, output.ts what goes where. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { packageRoot } from '../runtime/load.js';
import { benchCommand } from './bench.js';
import { completionCommand } from './completion.js';
import { configCommand } from './config.js';
import { dataCommand } from './data.js';
import { doctorCommand } from './doctor.js';
import { evalCommand } from './eval.js';
import { exitStatus, FAILED } from './exit.js';
import { inspectCommand } from './inspect.js';
import { say } from './output.js';
import { routeCommand } from './route.js';
import { sampleCommand } from './sample.js';
import { sources } from './sources.js';
import { trainCommand } from './train.js';

/** Runs a command line, what stands behind `attn-vk`; the status is `process.exitCode`. */
export async function main(args: readonly string[]): Promise<void> {
  try {
    await program().parseAsync(args, { from: 'user' });
  } catch (error) {
    const status = exitStatus(error);
    process.exitCode = status ?? FAILED;
    // A bug is worth its stack; commander has already said what is wrong.
    if (status === null) say((error as Error)?.stack ?? String(error));
    else if (!(error instanceof CommanderError)) say(`attn-vk: ${(error as Error).message}`);
  }
}

function program(): Command {
  const { version, description } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));
  const program = new Command('attn-vk')
    .description(description)
    .version(version)
    .exitOverride()
    .enablePositionalOptions();
  trainCommand(program);
  evalCommand(program);
  sampleCommand(program);
  inspectCommand(program);
  configCommand(program);
  dataCommand(program);
  doctorCommand(program, version);
  routeCommand(program);
  benchCommand(program);
  completionCommand(program, sources);
  return program;
}
