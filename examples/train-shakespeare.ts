/**
 * A GPT of 0.8 million parameters learns to write Shakespeare, character by character, in a few minutes on two cores:
 *
 *     npm run example:shakespeare -- tinyshakespeare.txt.gz
 *
 * The text is a plain or gzipped file; its last tenth is kept for validation. Expect a validation loss below 1.75.
 * A number after the path is how many steps to take.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { AdamW, GPT, manualSeed, noGrad, schedule, scope, type Tensor, tensor, uniform } from 'attn-vk';

const STEPS = Number(process.argv[3] ?? 1200);
const BATCH = 32;
const LENGTH = 128; // characters that the model sees

const path = process.argv[2];
if (!path) throw new Error('which text? give the path of a .txt or .txt.gz file');
const file = readFileSync(path);
const text = (path.endsWith('.gz') ? gunzipSync(file) : file).toString('utf8');

// Characters to integers and back.
const characters = [...new Set(text)].sort();
const encode = (s: string) => Int32Array.from(s, (c) => characters.indexOf(c));
const decode = (ids: Iterable<number>) => Array.from(ids, (i) => characters[i]).join('');
const data = encode(text);
const split = Math.floor(0.9 * data.length);
const [train, validation] = [data.subarray(0, split), data.subarray(split)];

/** Pieces of a text, and the same pieces a character later: what follows each character. */
function batch(from: Int32Array, starts: number[]): [ids: Tensor, labels: Tensor] {
  const pieces = (shift: number) =>
    Int32Array.from(starts.flatMap((at) => [...from.subarray(at + shift, at + shift + LENGTH)]));
  const shape = [starts.length, LENGTH];
  return [tensor(pieces(0), shape), tensor(pieces(1), shape)];
}

manualSeed(1);
const model = new GPT({ vocab: characters.length, layers: 4, dim: 128, heads: 4, length: LENGTH });
const optimizer = new AdamW(model.parameters(), {
  lr: 2e-3,
  betas: [0.9, 0.99],
  weightDecay: 0.1,
  maxNorm: 1,
});
const rate = schedule.cosine({ warmup: 100, total: STEPS, floor: 0.05 });

/** Mean loss over the whole validation text. */
async function validate(): Promise<number> {
  const starts = Array.from({ length: Math.floor((validation.length - 1) / LENGTH) }, (_, i) => i * LENGTH);
  let total = 0;
  for (let i = 0; i < starts.length; i += 64) {
    const some = starts.slice(i, i + 64);
    total += some.length * (await scope(() => noGrad(() => model.loss(...batch(validation, some)).item())));
  }
  return total / starts.length;
}

console.log(`${data.length} characters, ${characters.length} of them different; ${STEPS} steps`);
const began = performance.now();
const seconds = () => (performance.now() - began) / 1e3;
for (let step = 1; step <= STEPS; step++) {
  optimizer.lrFactor = rate(step - 1);
  // A scope frees the tensors that were made in it.
  const loss = await scope(async () => {
    const drawn = await uniform({ shape: [BATCH], seed: step }).data();
    const starts = Array.from(drawn, (u) => Math.floor(u * (train.length - LENGTH - 1)));
    const loss = model.loss(...batch(train, starts));
    loss.backward();
    optimizer.step();
    optimizer.zeroGrad();
    return loss.item();
  });
  if (step % 100 === 0 || step === STEPS) {
    const speed = (step * BATCH * LENGTH) / seconds();
    const left = ((STEPS - step) * seconds()) / step;
    console.log(
      `step ${step}: loss ${loss.toFixed(3)}, ${speed.toFixed(0)} characters/s, ${left.toFixed(0)} s left`,
    );
  }
}
console.log(`validation loss ${(await validate()).toFixed(3)} after ${seconds().toFixed(0)} s\n`);

const start = encode('\nROMEO:');
const written = await model.generate(tensor(start, [1, start.length]), { tokens: 400, temperature: 0.8 });
console.log(decode(await written.data()));
