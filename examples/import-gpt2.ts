/**
 * Text from a folder in Hugging Face's layout (GPT-2, Llama, Qwen3): config.json, model.safetensors, tokenizer.json.
 *
 *     node dist/examples/import-gpt2.js path/to/gpt2 "Once upon a time"
 */
import { loadModel, tensor } from 'attn-vk';

const [folder, prompt = 'Once upon a time', tokens = '60'] = process.argv.slice(2);
if (!folder) throw new Error('which model? give the path of its folder');

const { model, tokenizer, layout } = await loadModel(folder);
if (!tokenizer) throw new Error(`${folder} has no tokenizer.json`);
console.error(`${layout}: ${model.config.layers} layers × ${model.config.dim}, ${tokenizer.vocab} tokens`);

const ids = tokenizer.encode(prompt);
const speak = tokenizer.stream();
process.stdout.write(prompt);
// Each token is computed from the cache of those before it.
for await (const id of model.stream(tensor(ids, [1, ids.length]), {
  tokens: Number(tokens),
  temperature: 0.8,
  topP: 0.95,
}))
  process.stdout.write(speak(id));
console.log();
