/** Accuracy of copying over training steps: a panel for each kind, a line for each seed. */
import type { TopLevelSpec } from 'vega-lite';

export function copyChart(
  curves: readonly { kind: string; seed: number; step: number; accuracy: number }[],
): TopLevelSpec {
  return {
    title: {
      text: 'Copying 32 tokens: accuracy on sequences never trained on',
      anchor: 'start',
      fontSize: 15,
    },
    data: { values: [...curves] },
    facet: { field: 'kind', type: 'nominal', title: null, sort: [...new Set(curves.map((c) => c.kind))] },
    columns: 4,
    spec: {
      width: 180,
      height: 120,
      mark: { type: 'line' },
      encoding: {
        x: { field: 'step', type: 'quantitative', title: 'step' },
        y: { field: 'accuracy', type: 'quantitative', title: 'accuracy', scale: { domain: [0, 1] } },
        color: { field: 'seed', type: 'nominal' },
      },
    },
  } as TopLevelSpec;
}
