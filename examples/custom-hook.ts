/**
 * A hook in ten lines: training that stops once the loss is low enough.
 *
 *     node dist/examples/custom-hook.js 1.5
 */
import { type Hook, parseRunConfig, Trainer } from 'attn-vk';

const enough = Number(process.argv[2] ?? 1.5);

/** Hooks see each step, row of metrics, checkpoint and end; they may stop a run. */
const untilLow: Hook = {
  logged(row, run) {
    console.log(`step ${row.step}: ${row.split} loss ${row.loss.toFixed(3)}`);
    if (row.split === 'val' && row.loss < enough) run.stop(`a loss of ${row.loss.toFixed(3)} is enough`);
  },
};

const config = parseRunConfig({
  name: 'custom-hook',
  data: { name: 'copy', form: 'half', vocab: 16, length: 16, batch: 32 },
  model: { layers: 2, dim: 32, heads: 2 },
  train: { steps: 400, optimizer: { kind: 'adamw', lr: 1e-2 }, eval: { every: 20 }, log: { every: 20 } },
});

const trainer = await Trainer.open(config, { hooks: [untilLow], overwrite: true });
try {
  const { step, detail } = await trainer.run();
  console.log(`ended after step ${step}: ${detail}`);
} finally {
  await trainer.close();
}
