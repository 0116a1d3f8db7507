/** What a run begins with: everything is checked and made, and nothing left behind where that fails. */
import { join } from 'node:path';
import { splits } from '../data/data.js';
import { type Loader, openLoader } from '../data/loader.js';
import { GPT } from '../model/gpt.js';
import type { Optimizer, Schedule } from '../optim/index.js';
import { DataError } from '../runtime/errors.js';
import type { Runtime } from '../runtime/runtime.js';
import { manualSeed } from '../tensor/generator.js';
import { initialise, restore } from './checkpoint.js';
import { CHECKPOINTS, Checkpoints, type Found } from './checkpoints.js';
import type { RunConfig } from './config.js';
import type { Hook } from './hook.js';
import { makeOptimizer, makeSchedule } from './optimizer.js';
import { checkPlace, openPlace, placeOf } from './place.js';
import { checkSameRun } from './same-run.js';
import { checkUnused, clear, missingFolders, prepareFolder, takeBack } from './storage.js';

export interface TrainerOptions {
  /** Default: runs/<name>. */
  folder?: string;
  /** Goes on from the latest checkpoint that is whole, or from the one named: 'best', 'step-00000500', a path. */
  resume?: boolean | string;
  /** Ends an earlier run in the folder. */
  overwrite?: boolean;
  /** After those that write the run's files. */
  hooks?: readonly Hook[];
  /** In place of the data that the configuration names; the trainer closes it. */
  loader?: Loader;
}

export interface Opened {
  folder: string;
  checkpoints: Checkpoints;
  /** What to go on from. */
  found: Found | null;
  runtime: Runtime;
  loader: Loader;
  model: GPT;
  optimizer: Optimizer;
  schedule: Schedule;
  /** Ends all of it. */
  close(): Promise<void>;
}

export async function openRun(config: RunConfig, options: TrainerOptions): Promise<Opened> {
  const { folder = join('runs', config.name), resume = false, overwrite = false } = options;
  const ends: (() => unknown)[] = [];
  const close = async () => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  if (options.loader) ends.push(() => options.loader!.close());
  try {
    if (!resume && !overwrite) checkUnused(folder);
    const checkpoints = new Checkpoints(folder);
    if (resume) checkpoints.tidy();
    const found = resume ? await checkpoints.find(resume) : null;
    if (found) checkSameRun(found.folder, config, found.state.config);
    const schedule = makeSchedule(config.train);
    const place = openPlace(config, found?.state.place);
    ends.push(() => place.close());
    const { runtime } = place;
    if (found) checkPlace(placeOf(runtime), found.state.place, config, found.state.config);
    const loader = options.loader ?? (await openLoader(config.data, { seed: config.seed }));
    if (!options.loader) ends.push(() => loader.close());
    for (const split of splits)
      if (!(loader.batches(split) > 0) && (split !== 'test' || config.train.eval.test))
        throw new DataError(`'${split}' of '${loader.info.name}' has no rows of ${config.data.length}`, {
          hint: 'use more data, or shorter rows: --set data.length=…',
        });
    manualSeed(config.seed);
    const model = new GPT({ ...config.model, vocab: loader.info.vocab, length: config.data.length });
    ends.push(() => model.dispose());
    if (config.train.init !== undefined && !found) await initialise(config.train.init, model);
    const optimizer = makeOptimizer(model, config.train);
    ends.push(() => optimizer.dispose());
    if (found) await restore(found.folder, found.state, model, optimizer);
    const made = missingFolders(join(folder, CHECKPOINTS));
    ends.push(() => takeBack(made)); // of a run that wrote nothing
    prepareFolder(folder, { parameters: model.size, keep: config.train.checkpoint.keep });
    if (!found) clear(folder);
    return { folder, checkpoints, found, runtime, loader, model, optimizer, schedule, close };
  } catch (error) {
    await close();
    throw error;
  }
}
