#!/usr/bin/env node
/**
 * `attn-vk`: one file per command. Data goes to stdout, everything said to a person to stderr.
 * Exit status: 0 done, 1 failed, 2 wrong usage, 3 no Vulkan device where one was required.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { ArgumentError, AttnError, DTypeError } from '../runtime/errors.js';
import { packageRoot } from '../runtime/load.js';
import { doctorCommand } from './doctor.js';
import { routeCommand } from './route.js';

const { version, description } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));

const program = new Command('attn-vk').description(description).version(version).exitOverride();
doctorCommand(program, version);
routeCommand(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitStatus(error);
}

function exitStatus(error: unknown): number {
  // commander has already said what is wrong; help and --version end here too, with status 0.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (!(error instanceof AttnError)) throw error;
  process.stderr.write(`attn-vk: ${error.message}\n`);
  // What the user named does not exist or does not fit: usage, like an unknown option.
  return error instanceof ArgumentError || error instanceof DTypeError ? 2 : 1;
}
