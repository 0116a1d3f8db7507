/** What is asked of the figures: bench/bounds.json against a run. Nobody lowers a bound to pass. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Figure } from '../../src/report/json.js';
import { plain, textTable } from '../../src/report/table.js';
import { packageRoot } from '../../src/runtime/load.js';

interface Bound {
  /** Figures that it binds, by name. */
  names: string[];
  metric: string;
  peer?: string;
  atLeast?: number;
  atMost?: number;
  /** In place of that, the value itself is at most this, in the figure's unit. */
  orValue?: number;
  /** Only where the device's name contains this. */
  device?: string;
  /** Where the number comes from. */
  source: string;
}

export type Bench =
  | 'vulkan'
  | 'cpu'
  | 'memory'
  | 'attention'
  | 'train'
  | 'kinds'
  | 'copy'
  | 'trainer'
  | 'experiments';

/** Puts the bounds of a benchmark on its figures, which `device` made; returns those that nothing here answers. */
export function bind(bench: Bench, figures: Figure[], device = ''): string[] {
  const all = JSON.parse(readFileSync(join(packageRoot(), 'bench/bounds.json'), 'utf8')) as Record<
    Bench,
    Bound[]
  >;
  const open: string[] = [];
  for (const { names, metric, peer, atLeast, atMost, orValue, device: only = '' } of all[bench]) {
    if (!device.toLowerCase().includes(only)) continue;
    for (const name of names) {
      const figure = figures.find(
        (f) => f.name === name && f.metric === metric && (!peer || f.peer === peer),
      );
      const either = orValue === undefined ? {} : { orValue };
      if (figure)
        figure.bound = { ...(atLeast === undefined ? { atMost: atMost! } : { atLeast }), ...either };
      else open.push(`${name}: ${metric}${peer ? ` against ${peer}` : ''}`);
    }
  }
  return open;
}

/** Asked and got, a row for each figure that is bound. */
export function judge(figures: readonly Figure[]) {
  return figures
    .filter((f) => f.bound)
    .map((f) => {
      const bound = f.bound!;
      const got = f.ratio ?? f.value;
      const { orValue } = bound;
      const met =
        ('atLeast' in bound ? got >= bound.atLeast : got <= bound.atMost) ||
        (orValue !== undefined && f.value <= orValue);
      const asked = 'atLeast' in bound ? `≥ ${bound.atLeast}` : `≤ ${bound.atMost}`;
      return {
        figure: f.name,
        metric: f.metric,
        value: `${plain(f.value)} ${f.unit}`.trim(),
        against: f.peer ?? null,
        asked: orValue === undefined ? asked : `${asked} or ${plain(orValue)} ${f.unit}`,
        got: Number(got.toPrecision(4)),
        met: met ? 'yes' : 'NO',
      };
    });
}

/** Prints asked / got; false where a figure falls short, or where none was bound at all. */
export function check(figures: readonly Figure[], open: readonly string[]): boolean {
  const rows = judge(figures);
  const short = rows.filter((r) => r.met === 'NO').length;
  if (rows.length > 0) console.log(`\nAsked and got\n\n${textTable(rows)}`);
  if (open.length > 0) console.log(`\nNot measured in this run: ${open.join('; ')}`);
  if (rows.length === 0) console.log('\nNo bounded figure was measured.');
  else console.log(`\n${rows.length - short} of ${rows.length} bounds met`);
  return short === 0 && rows.length > 0;
}
