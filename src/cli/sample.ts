/** `attn-vk sample`: what a model goes on with after a text, shown as it comes. */
import type { Command } from 'commander';
import type { GPT } from '../model/gpt.js';
import { ArgumentError } from '../runtime/errors.js';
import { type Tensor, tensor } from '../tensor/tensor.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { openModel } from '../train/checkpoint.js';
import { locateModel } from './locate.js';
import { latestOption, positive, real, share, whole } from './options.js';
import { printJson, say } from './output.js';

interface Options {
  prompt: string;
  tokens: number;
  temperature: number;
  topK?: number;
  topP?: number;
  seed: number;
  latest?: boolean;
  json?: boolean;
}

export function sampleCommand(program: Command): void {
  program
    .command('sample')
    .description('let a model write: stdout has the prompt and what follows, as it comes, and nothing else')
    .argument('<run>', 'folder of a run, a checkpoint or a model, those of Hugging Face among them')
    .option('--prompt <text>', 'what the text begins with; ids, as 3,1,4, for a model without tokenizer', '')
    .option('--tokens <n>', 'how many to add', positive, 200)
    .option('--temperature <t>', 'logits are divided by it; 0 takes the likeliest token', real, 0.8)
    .option('--top-k <k>', 'draw from the k likeliest alone', positive)
    .option('--top-p <p>', 'draw from the fewest whose probabilities add up to p', share)
    .option('--seed <n>', 'equal seeds, equal texts', whole, 0)
    .addOption(latestOption())
    .option('--json', 'print prompt, text and ids as JSON, once all is there')
    .action(sample);
}

async function sample(path: string, { prompt, latest, json, ...options }: Options): Promise<void> {
  const place = locateModel(path, latest ? 'latest' : 'best');
  const loaded = await openModel(place.model);
  using model = loaded.model;
  const { tokenizer } = loaded;
  using ids = encode(prompt, model, tokenizer);
  const speak = tokenizer ? tokenizer.stream() : (id: number) => ` ${id}`;
  const told: string[] = [];
  const tokens: number[] = [];
  const show = (text: string) => {
    told.push(text);
    if (!json) process.stdout.write(process.stdout.isTTY ? harmless(text) : text);
  };
  if (tokenizer) show(prompt);
  else show((await ids.data()).join(' '));
  const began = performance.now();
  for await (const id of model.stream(ids, options)) {
    tokens.push(id);
    show(speak(id));
  }
  const seconds = (performance.now() - began) / 1e3;
  if (json) printJson({ model: place.model, prompt, text: told.join(''), tokens, seconds });
  else process.stdout.write('\n');
  say(`attn-vk: ${tokens.length} tokens of ${place.model} in ${seconds.toFixed(1)} s`);
}

/** What steers a terminal is shown as a mark: a model that has learned little may write anything. */
const harmless = (text: string): string => text.replaceAll(/(?![\n\t])\p{Cc}/gu, '\ufffd');

/** int32 [1, length]. A text begins somewhere: after a line end, where the prompt is empty. */
function encode(prompt: string, model: GPT, tokenizer: Tokenizer | null): Tensor {
  const ids = tokenizer ? tokenizer.encode(prompt || '\n') : idsOf(prompt);
  const { vocab } = model.config;
  const strange = ids.find((id) => id >= vocab);
  if (strange !== undefined)
    throw new ArgumentError(`the prompt has token ${strange}, and the model knows ${vocab}`, {
      hint: `ids are 0 to ${vocab - 1}`,
    });
  return tensor(ids, [1, ids.length]);
}

function idsOf(prompt: string): Int32Array {
  const words = prompt.split(/[\s,]+/).filter(Boolean);
  const wrong = words.find((word) => !/^\d{1,9}$/.test(word));
  if (wrong !== undefined)
    throw new ArgumentError(`the prompt has '${wrong}', and the model has no tokenizer`, {
      hint: 'give ids: --prompt 3,1,4',
    });
  return Int32Array.from(words.length > 0 ? words.map(Number) : [0]);
}
