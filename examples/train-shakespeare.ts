/**
 * A GPT of 0.8 million parameters learns to write Shakespeare, character by character, in a few minutes on two cores:
 *
 *     npm run example:shakespeare -- tinyshakespeare.txt.gz
 *
 * The text is a plain or gzipped file; its last twentieths are kept for validation and tests. Expect a validation loss
 * below 1.7. A number after the path is how many steps to take. `attn-vk train configs/shakespeare.yaml` does the same.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Hook, parseRunConfig, Trainer, tensor } from 'attn-vk';

const [path, steps = '1200'] = process.argv.slice(2);
if (!path) throw new Error('which text? give the path of a .txt or .txt.gz file');

const config = parseRunConfig({
  name: 'shakespeare',
  seed: 1,
  data: { name: 'text', path, tokenizer: { kind: 'character' }, length: 128, batch: 32 },
  model: { layers: 4, dim: 128, heads: 4 },
  train: {
    steps: Number(steps),
    optimizer: { kind: 'adamw', lr: 2e-3, betas: [0.9, 0.99], weightDecay: 0.1 },
    schedule: { kind: 'cosine', warmup: Math.ceil(Number(steps) / 12), floor: 0.05 },
    log: { every: Math.min(100, Number(steps)) },
    eval: { batches: 100 },
  },
});

const tell: Hook = {
  begin: ({ data, model }) => console.log(`${data.vocab} characters, ${model.size} parameters`),
  logged: ({ step, split, loss, tokensPerSec }) =>
    console.log(
      split === 'train'
        ? `step ${step}: loss ${loss.toFixed(3)}, ${tokensPerSec.toFixed(0)} characters/s`
        : `validation loss ${loss.toFixed(3)}`,
    ),
  async end(_, { model, data: { tokenizer } }) {
    if (!tokenizer) return;
    const prompt = tokenizer.encode('\nROMEO:');
    const ids = tensor(prompt, [1, prompt.length]);
    const written = await model.generate(ids, { tokens: 400, temperature: 0.8 });
    console.log(tokenizer.decode(await written.data()));
  },
};

const folder = mkdtempSync(join(tmpdir(), 'shakespeare-'));
const trainer = await Trainer.open(config, { folder, hooks: [tell] });
try {
  await trainer.run();
} finally {
  await trainer.close();
  rmSync(folder, { recursive: true });
}
