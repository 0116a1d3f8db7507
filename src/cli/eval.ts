/** `attn-vk eval`: the loss of a model on a split of its data, or of other data. */
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { type Split, splits } from '../data/data.js';
import { openLoader } from '../data/loader.js';
import { plain } from '../report/table.js';
import { ArgumentError, CheckpointError } from '../runtime/errors.js';
import { accuracy } from '../train/accuracy.js';
import { openModel } from '../train/checkpoint.js';
import { evaluate } from '../train/evaluate.js';
import { openPlace } from '../train/place.js';
import { loadRunConfig } from '../train/run-config.js';
import { findConfig, locateModel } from './locate.js';
import { latestOption, positive, setOption } from './options.js';
import { facts, print, printJson, say } from './output.js';

interface Options {
  split: Split;
  set?: string[];
  config?: string;
  batches?: number;
  latest?: boolean;
  json?: boolean;
}

export function evalCommand(program: Command): void {
  program
    .command('eval')
    .description('tell the loss of a model on a split of the data that it was trained on, or of other data')
    .argument('<run>', 'folder of a run, a checkpoint or a model')
    .addOption(new Option('--split <split>', 'which part of the data').choices(splits).default('val'))
    .addOption(setOption())
    .option('--config <config>', "the data is this configuration's, not the run's")
    .option('--batches <n>', 'read no more; default all, where there is an end', positive)
    .addOption(latestOption())
    .option('--json', 'print the figures as JSON')
    .action(evaluateCommand);
}

async function evaluateCommand(path: string, options: Options): Promise<void> {
  const { split } = options;
  const place = locateModel(path, options.latest ? 'latest' : 'best');
  if (!options.config && !place.run)
    throw new ArgumentError(`${path} is not in a run, so nothing says on which data to evaluate it`, {
      hint: '--config names a configuration: --config configs/copy.flash.yaml',
    });
  const file = options.config ? findConfig(options.config) : join(place.run!, 'config.yaml');
  const config = loadRunConfig(file, { sets: options.set });
  const opened = openPlace(config);
  try {
    using model = (await openModel(place.model)).model;
    const loader = await openLoader(config.data, { seed: config.seed });
    try {
      if (loader.info.vocab > model.config.vocab || config.data.length > model.config.length)
        throw new CheckpointError(
          `${place.model} has a vocabulary of ${model.config.vocab} and sees ${model.config.length} tokens; the data has ${loader.info.vocab} and rows of ${config.data.length}`,
          { hint: '--set data.length=… shortens rows; the vocabulary is that of the tokenizer' },
        );
      say(`attn-vk: ${place.model} on '${split}' of ${config.data.name}`);
      const all = loader.batches(split);
      const limit = Number.isFinite(all) ? all : config.train.eval.batches;
      const reading = { batches: Math.min(options.batches ?? limit, all), amp: config.train.amp };
      const { loss, tokens } = await evaluate(model, loader, split, reading);
      const right = await accuracy(model, loader, split, reading);
      const perByte = loader.info.bytesPerToken?.[split];
      const figures = {
        split,
        loss,
        perplexity: Math.exp(loss),
        bitsPerByte: perByte ? loss / Math.LN2 / perByte : null,
        accuracy: right,
        tokens,
      };
      if (options.json) printJson({ ...figures, checkpoint: place.model });
      else
        print(
          facts(
            Object.entries(figures).flatMap(([name, value]) =>
              value === null ? [] : [[name, typeof value === 'number' ? plain(value) : value] as const],
            ),
          ),
        );
    } finally {
      await loader.close();
    }
  } finally {
    opened.close();
  }
}
