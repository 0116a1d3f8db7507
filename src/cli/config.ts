/** `attn-vk config`: what runs can be configured by, what a file comes to, and whether it can be. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { jsonSchema } from '../config/json-schema.js';
import { ConfigError } from '../runtime/errors.js';
import { packageRoot } from '../runtime/load.js';
import { dumpRunConfig, loadRunConfig, runSchema } from '../train/run-config.js';
import { USAGE } from './exit.js';
import { findConfig, packagedConfigs } from './locate.js';
import { setOption } from './options.js';
import { facts, print, printJson, say } from './output.js';

export function configCommand(program: Command): void {
  const config = program
    .command('config')
    .description('list, check and show configurations, and their JSON Schema');
  config
    .command('list')
    .description('list the configurations that the package brings')
    .option('--json', 'print them as JSON')
    .action(({ json }: { json?: boolean }) => {
      const all = packagedConfigs().map((path) => ({ path, about: aboutOf(path) }));
      if (json) printJson(all);
      else if (all.length > 0) print(facts(all.map(({ path, about }) => [path, about])));
    });
  config
    .command('show')
    .description('print what a file comes to: bases, --set and defaults filled in')
    .argument('<config>', 'a YAML file')
    .addOption(setOption())
    .option('--json', 'print it as JSON')
    .action((path: string, { set, json }: { set?: string[]; json?: boolean }) => {
      const loaded = loadRunConfig(findConfig(path), { sets: set });
      if (json) printJson(loaded);
      else print(dumpRunConfig(loaded).trimEnd());
    });
  config
    .command('check')
    .description('say of each file whether it can be trained by, and if not, what is wrong and where')
    .argument('<config...>', 'YAML files')
    .addOption(setOption())
    .option('--json', 'print the verdicts as JSON')
    .action((paths: string[], { set, json }: { set?: string[]; json?: boolean }) => {
      const verdicts = paths.map((path) => verdict(path, set));
      if (json) printJson(verdicts);
      else
        for (const { file, error } of verdicts)
          if (error) say(error.message);
          else print(`${file}: ok`);
      if (verdicts.some(({ error }) => error)) process.exitCode = USAGE;
    });
  config
    .command('schema')
    .description('print the JSON Schema of configurations: editors complete YAML from it')
    .addHelpText(
      'after',
      '\nattn-vk config schema > attn-vk.schema.json, and as the first line of a configuration:\n# yaml-language-server: $schema=attn-vk.schema.json',
    )
    .action(() => printJson(jsonSchema(runSchema, 'a run of attn-vk')));
}

function verdict(path: string, sets?: readonly string[]) {
  try {
    loadRunConfig(findConfig(path), { sets });
    return { file: path, ok: true };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const { message, path: key, file = path, line, column } = error;
    return { file, ok: false, error: { message, path: key, line, column } };
  }
}

/** What the first line of a configuration says of it. */
function aboutOf(path: string): string {
  const [first = ''] = readFileSync(join(packageRoot(), path), 'utf8').split('\n', 1);
  return first.startsWith('#') ? first.slice(1).trim() : '';
}
