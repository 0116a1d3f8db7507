/**
 * Text from a folder of Hugging Face: GPT-2, Llama or Qwen3, with config.json, model.safetensors and tokenizer.json.
 *
 *     node dist/examples/import-gpt2.js path/to/gpt2 "Once upon a time"
 */
import { loadModel } from 'attn-vk';

const [folder, prompt = 'Once upon a time'] = process.argv.slice(2);
if (!folder)
  throw new Error('which folder? give the path of a model: config.json, model.safetensors, tokenizer.json');

const { model, tokenizer, layout } = await loadModel(folder);
if (!tokenizer) throw new Error(`${folder} has no tokenizer.json`);
console.error(`${layout}: ${model.config.layers} layers × ${model.config.dim}, ${tokenizer.vocab} tokens`);
