/** `attn-vk train`: from a configuration to a run's folder; stopped by Ctrl-C, it saves and says how to go on. */
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { ArgumentError } from '../runtime/errors.js';
import { runtime } from '../runtime/runtime.js';
import type { RunConfig } from '../train/config.js';
import type { Hook, Outcome, Run } from '../train/hook.js';
import { loadRunConfig } from '../train/run-config.js';
import { onSignals } from '../train/signals.js';
import { Trainer } from '../train/trainer.js';
import { findConfig, isRun, locate } from './locate.js';
import { setOption } from './options.js';
import { count, duration, facts, printJson, say } from './output.js';
import { ending, progress } from './progress.js';

interface Options {
  set?: string[];
  resume?: boolean | string;
  out?: string;
  overwrite?: boolean;
  json?: boolean;
}

export function trainCommand(program: Command): void {
  program
    .command('train')
    .description('train the model that a configuration describes')
    .argument('[config]', 'a YAML file, or one that the package brings: configs/copy.flash.yaml')
    .addOption(setOption())
    .option('--resume [checkpoint]', 'go on with a run, from its latest checkpoint or the one that is named')
    .option('--out <folder>', 'where everything is written; default runs/<name>')
    .option('--overwrite', 'begin anew where a run is already')
    .option('--json', 'print the outcome as JSON')
    .action(train);
}

async function train(named: string | undefined, options: Options): Promise<void> {
  const { config: file, resume, folder: home } = resolve(named, options);
  const config = loadRunConfig(file, { sets: options.set });
  if (options.out === '')
    throw new ArgumentError('--out names no folder', { hint: 'such as --out runs/first' });
  const folder = options.out ?? home ?? join('runs', config.name);
  const { overwrite, json } = options;
  if (resume && overwrite)
    throw new ArgumentError('--resume and --overwrite are given, and one ends what the other needs', {
      hint: 'leave one of them out',
    });
  if (isRun(folder) && !resume && !overwrite)
    throw new ArgumentError(`${folder} has a run already`, {
      hint: '--resume goes on with it, --overwrite begins anew, --out names another folder',
    });
  let checkpoint: string | null = null;
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1e3;
  const first: Hook = { begin: (run) => say(essentials(run)) };
  const last: Hook = {
    saved(where) {
      checkpoint = where;
    },
    end(outcome, run) {
      // What went wrong is told as every error is.
      if (outcome.reason !== 'failed') say(summary(outcome, run, checkpoint, seconds()));
    },
  };
  const trainer = await Trainer.open(config, { folder, resume, overwrite, hooks: [first, progress(), last] });
  const signals = onSignals((signal) => {
    // The line of progress stays open on a terminal.
    const open = process.stderr.isTTY ? '\n' : '';
    say(`${open}attn-vk: ${signal}: training ends after this step and is saved; once more ends it at once`);
    trainer.stop(signal);
  });
  try {
    const outcome = await trainer.run();
    if (json) printJson({ ...outcome, run: folder, checkpoint, seconds: seconds() });
    if (outcome.reason === 'interrupted') process.exitCode = signals.exitCode;
  } finally {
    signals.end();
    await trainer.close();
  }
}

interface Resolved {
  config: string;
  /** Of the run that the checkpoint or the file belongs to. */
  folder: string | undefined;
  resume: boolean | string | undefined;
}

function resolve(named: string | undefined, { resume, out }: Options): Resolved {
  // An option that may have a value takes the next word for it: `--resume configs/copy.flash.yaml`.
  if (named === undefined && typeof resume === 'string' && /\.ya?ml$/.test(resume))
    return resolve(resume, { resume: true, out });
  // With a configuration 'best' and 'step-00000500' are names of its run's checkpoints, which the trainer knows.
  const known = named !== undefined && /^(best|latest|step-\d+)$/.test(String(resume));
  const place = typeof resume === 'string' && !known ? locate(resume, 'latest') : null;
  const file = named ?? (place?.run ? join(place.run, 'config.yaml') : undefined);
  if (file === undefined)
    throw new ArgumentError(place ? `${resume} belongs to no run` : 'no configuration is named', {
      hint: 'attn-vk train configs/copy.flash.yaml',
    });
  const config = findConfig(file);
  const folder = place?.run ?? (isRun(dirname(config)) ? dirname(config) : undefined);
  // Elsewhere there is no checkpoint yet: it is that of the run which was named.
  const begun = out === undefined ? true : (place?.model ?? true);
  return { config, folder, resume: place?.kind === 'run' ? begun : resume };
}

function essentials({ config, folder, data, model, step }: Run): string {
  const { layers, dim, heads, attention } = config.model;
  const { batch, length } = config.data;
  const { steps, optimizer, amp, accumulate } = config.train;
  const tokens = batch * length * accumulate;
  return facts([
    [
      'model',
      `${layers} layers × ${dim}, ${heads} heads, ${attention?.kind} attention, ${count(model.size)} parameters`,
    ],
    ['data', `${data.name}, vocabulary ${data.vocab}, ${count(tokens)} tokens a step in rows of ${length}`],
    [
      'steps',
      `${step > 0 ? `from ${step} to ` : ''}${steps}, ${optimizer.kind}${amp === 'none' ? '' : `, ${amp}`}`,
    ],
    ['device', device(config)],
    ['run', folder],
  ]);
}

/** Where ops run, and why there. */
function device(config: RunConfig): string {
  const { caps, route, threads } = runtime();
  const cpu = `the CPU, ${threads} threads`;
  if (route === 'cpu') {
    const asked =
      config.route === 'cpu'
        ? 'route: cpu'
        : process.env.ATTN_VK_ROUTE === 'cpu'
          ? 'ATTN_VK_ROUTE=cpu'
          : null;
    return `${cpu}: ${asked ?? 'no Vulkan device is usable (see attn-vk doctor)'}`;
  }
  if (route === 'gpu') return `${caps?.name}: route gpu`;
  return `${caps?.name} and ${cpu}: each op where it was measured to be faster`;
}

function summary(
  outcome: Outcome,
  { config, folder }: Run,
  checkpoint: string | null,
  seconds: number,
): string {
  const { val, test, best } = outcome;
  const lines: [string, string][] = [
    ['ended', `${ending(outcome, config.train.steps)}, in ${duration(seconds)}`],
  ];
  if (val) lines.push(['last', `validation loss ${val.loss.toFixed(4)}`]);
  if (best) lines.push(['best', `validation loss ${best.loss.toFixed(4)}, step ${best.step}`]);
  if (test) lines.push(['test', `loss ${test.loss.toFixed(4)}`]);
  if (checkpoint) lines.push(['saved', checkpoint]);
  const next =
    outcome.reason === 'interrupted'
      ? [`attn-vk train --resume ${folder}`]
      : ['eval', 'sample', 'inspect'].map((command) => `attn-vk ${command} ${folder}`);
  return facts([...lines, ...next.map((command, i): [string, string] => [i === 0 ? 'next' : '', command])]);
}
