/** Tokens a second, peak bytes and decoding time of attention kinds over the length, logarithmic on both axes. */
import type { TopLevelSpec } from 'vega-lite';

interface Row {
  kind: string;
  T: number;
  tokens_per_s: number;
  peak_MiB: number;
  decode_ms: number | null;
}

export function kindsChart(rows: readonly Row[], machine: string): TopLevelSpec {
  const panels = [
    ['tokens_per_s', 'tokens/s, forward + backward'],
    ['peak_MiB', 'peak MiB of a training step'],
    ['decode_ms', 'decode ms/token'],
  ] as const;
  return {
    title: {
      text: 'Attention kinds by length',
      subtitle: `${machine}; one layer, fp32`,
      anchor: 'start',
      fontSize: 15,
      subtitleFontSize: 11,
      subtitleColor: '#555555',
      offset: 12,
    },
    hconcat: panels.map(([field, title]) => ({
      data: { values: rows.filter((row) => row[field] !== null) },
      width: 300,
      height: 300,
      mark: { type: 'line', point: { size: 30 } },
      encoding: {
        x: {
          field: 'T',
          type: 'quantitative',
          scale: { type: 'log', base: 2, nice: false },
          axis: { values: [...new Set(rows.map((row) => row.T))], format: 'd' },
        },
        y: { field, type: 'quantitative', scale: { type: 'log' }, title },
        color: { field: 'kind', type: 'nominal', scale: { scheme: 'tableau20' }, title: null },
      },
    })),
  } as TopLevelSpec;
}
