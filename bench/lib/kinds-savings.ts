/** Do factorised weights save memory? tt and tpa beside both baselines, the one with a T × T matrix and the tiled one. */

import { attentionKinds } from '../../src/attention/registry.js';
import type { Cell } from '../../src/report/csv.js';
import type { Figure } from '../../src/report/json.js';
import type { RuntimeOptions } from '../../src/runtime/runtime.js';
import { type Entry, LayerWork } from './kinds.js';

const LENGTH = 1024;
const BATCH = 4;
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
}

export async function savings(
  side: RuntimeOptions,
): Promise<{ rows: Record<string, Cell>[]; figures: Figure[]; answer: string }> {
  const measured: Measured[] = [];
  for (const entry of contenders) {
    if (!attentionKinds.some(({ kind }) => kind === entry.config.kind)) continue;
    const work = new LayerWork(entry, LENGTH, side, BATCH);
    try {
      await work.run('both');
      const peak = await work.peak('both');
      const decoded = await work.decode(1);
      measured.push({
        name: entry.name,
        parameters: work.layer.size,
        optimizer: 8 * work.layer.size,
        peak: peak + 8 * work.layer.size,
        cache: decoded!.bytes / LENGTH / BATCH,
      });
    } finally {
      work.dispose();
    }
  }
  const [mha, flash] = ['mha', 'flash'].map((name) => measured.find((m) => m.name === name)!);
  const saved = (m: Measured, base: Measured) => 1 - m.peak / base.peak;
  const rows = measured.map((m) => ({
    [`T = ${LENGTH}, B = ${BATCH}`]: m.name,
    parameters: m.parameters,
    'optimiser KiB': Math.round(m.optimizer / 1024),
    'peak training MiB': Number((m.peak / 2 ** 20).toFixed(1)),
    'cache bytes/token': Math.round(m.cache),
    "saved of mha's peak": percent(saved(m, mha!)),
    "saved of flash's peak": percent(saved(m, flash!)),
  }));
  const factorised = measured.filter((m) => m !== mha && m !== flash);
  const answer = factorised
    .map((m) => {
      const verdict = (base: Measured) =>
        `${saved(m, base) >= ASKED ? 'yes' : 'no'} against ${base.name} (${percent(saved(m, base))})`;
      return `${m.name} saves at least ${percent(ASKED)} of the peak: ${verdict(mha!)}, ${verdict(flash!)}.`;
    })
    .join('\n');
  const figures = factorised.flatMap((m) =>
    [mha!, flash!].map((base) => ({
      name: `${m.name} T=${LENGTH} B=${BATCH}`,
      metric: `peak bytes with optimiser over ${base.name}'s`,
      value: m.peak / base.peak,
      unit: 'x',
    })),
  );
  return { rows, figures, answer };
}

const percent = (x: number) => `${(100 * x).toFixed(0)} %`;
