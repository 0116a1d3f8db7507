/**
 * Do factorised weights save memory? tt and tpa beside both baselines, the one with a T × T matrix and the tiled one: a
 * layer by itself, and a training step of a GPT of four, where what each layer keeps for its gradient counts.
 */

import { attentionKinds } from '../../src/attention/registry.js';
import { AdamW, GPT } from '../../src/index.js';
import type { Cell } from '../../src/io/csv.js';
import type { Figure } from '../../src/report/json.js';
import { Runtime, type RuntimeOptions, useRuntime } from '../../src/runtime/runtime.js';
import { manualSeed } from '../../src/tensor/generator.js';
import { scope } from '../../src/tensor/scope.js';
import { tensor } from '../../src/tensor/tensor.js';
import { DIM, type Entry, HEADS, LayerWork } from './kinds.js';

const BATCH = 4;
const LAYERS = 4;
const VOCAB = 256;
/** What a study has to save to say GO. */
const ASKED = 0.2;

const contenders: Entry[] = [
  { name: 'mha', config: { kind: 'mha' } },
  { name: 'flash', config: { kind: 'flash' } },
  { name: 'tt r=16', config: { kind: 'tt', rank: 16 } },
  { name: 'tpa R=2', config: { kind: 'tpa', ranks: [2, 2, 2] } },
];

interface Measured {
  name: string;
  parameters: number;
  /** Two moments of AdamW. */
  optimizer: number;
  peak: number;
  cache: number;
  /** Peak of a step of a GPT, its optimiser included. */
  trained: number;
}

/** At T = `length`. */
export async function savings(
  side: RuntimeOptions,
  length: number,
): Promise<{ rows: Record<string, Cell>[]; figures: Figure[]; answer: string }> {
  const measured: Measured[] = [];
  for (const entry of contenders) {
    if (!attentionKinds.some(({ kind }) => kind === entry.config.kind)) continue;
    const work = new LayerWork(entry, length, side, BATCH);
    try {
      await work.run('both');
      const peak = await work.peak('both');
      const decoded = await work.decode(1);
      measured.push({
        name: entry.name,
        parameters: work.layer.size,
        optimizer: 8 * work.layer.size,
        peak: peak + 8 * work.layer.size,
        cache: decoded!.bytes / length / BATCH,
        trained: await trained(entry, side, length),
      });
    } finally {
      work.dispose();
    }
  }
  const [mha, flash] = ['mha', 'flash'].map((name) => measured.find((m) => m.name === name)!);
  const rows = measured.map((m) => ({
    [`T = ${length}, B = ${BATCH}`]: m.name,
    parameters: m.parameters,
    'optimiser KiB': Math.round(m.optimizer / 1024),
    'cache bytes/token': Math.round(m.cache),
    ...Object.fromEntries(
      places.map(({ place, of }) => [`peak MiB, ${place}`, Number((of(m) / 2 ** 20).toFixed(1))]),
    ),
  }));
  const factorised = measured.filter((m) => m !== mha && m !== flash);
  const compared = factorised.flatMap((m) =>
    places.flatMap(({ place, of }) =>
      [mha!, flash!].map((base) => ({ m, base, place, ratio: of(m) / of(base) })),
    ),
  );
  const answer = compared
    .map(({ m, base, place, ratio }) => {
      const verdict = 1 - ratio >= ASKED ? 'yes' : 'no';
      return `${m.name}, ${place}: at least ${percent(ASKED)} less than ${base.name}: ${verdict} (${percent(1 - ratio)}).`;
    })
    .join('\n');
  const figures = compared.map(({ m, base, place, ratio }) => ({
    name: `${m.name} T=${length} B=${BATCH}`,
    metric: `peak bytes with optimiser over ${base.name}'s, ${place}`,
    value: ratio,
    unit: 'x',
  }));
  return { rows, figures, answer };
}

const places: { place: string; of: (m: Measured) => number }[] = [
  { place: 'one layer', of: (m) => m.peak },
  { place: `GPT of ${LAYERS}`, of: (m) => m.trained },
];

/** Peak bytes of the second training step of a GPT with such layers. */
async function trained({ config }: Entry, side: RuntimeOptions, length: number): Promise<number> {
  const runtime = new Runtime(side);
  const before = useRuntime(runtime);
  try {
    manualSeed(1);
    const sizes = { vocab: VOCAB, layers: LAYERS, dim: DIM, heads: HEADS, length };
    const model = new GPT({ ...sizes, positions: 'rope', attention: config });
    const optimizer = new AdamW(model.parameters());
    for (let step = 0; step < 2; step++) {
      await runtime.sync();
      runtime.trim();
      scope(() => {
        const ids = tensor(
          Int32Array.from({ length: BATCH * length }, (_, i) => (5 * i) % 251),
          [BATCH, length],
        );
        model.loss(ids, ids).backward();
        optimizer.step();
        optimizer.zeroGrad();
      });
    }
    await runtime.sync();
    const { host, device } = runtime.memory();
    return host.peak + (device?.peak ?? 0);
  } finally {
    useRuntime(before);
    runtime.dispose();
  }
}

const percent = (x: number) => `${Math.round(100 * x) + 0} %`;
