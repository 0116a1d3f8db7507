#!/usr/bin/env node
/** `attn-vk`: one file per command; exit.ts has the statuses, output.ts what goes where. */
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
dataCommand(program);
configCommand(program);
doctorCommand(program, version);
routeCommand(program);
benchCommand(program);
completionCommand(program, sources);

/** `attn-vk` */
import { main } from './main.js';

// Whoever read has enough: `attn-vk sample … | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

await main(process.argv.slice(2));
