/** Speed-up of a device over the CPU, op by op and size by size: right of the line Vulkan is faster. */
import type { TopLevelSpec } from 'vega-lite';
import { type Result, speedUp } from './result.js';

const colors = ['#7fb7e6', '#2f7fc1', '#123f6d', '#0a2340', '#000000'];

export function speedUpChart(results: readonly Result[], device: string, machine: string): TopLevelSpec {
  const scenarios = [
    ['data resident', 'resident'],
    ['with transfers both ways', 'transfers'],
  ] as const;
  const values = results.flatMap((r) =>
    scenarios.flatMap(([scenario, key]) => {
      const speed = speedUp(r, key);
      if (speed === null) return [];
      const op = r.c.kind === 'matmul' ? `${r.c.op.name} ${r.c.dtype}` : r.c.op.name;
      return [{ op, size: `${r.c.n}²`, scenario, speed }];
    }),
  );
  const sizes = [...new Set(values.map((v) => v.size))];
  // Ops in the order of their best speed-up with resident data: a fast device shows a long tail to the right.
  const best = new Map<string, number>();
  for (const v of values)
    if (v.scenario === scenarios[0][0]) best.set(v.op, Math.max(best.get(v.op) ?? 0, v.speed));
  const [low, high] = [
    Math.min(1, ...values.map((v) => v.speed)),
    Math.max(1, ...values.map((v) => v.speed)),
  ];
  const ticks = [-4, -3, -2, -1, 0, 1, 2, 3, 4]
    .flatMap((e) => [1, 3].map((m) => Number(`${m}e${e}`)))
    .filter((t) => t >= low * 0.8 && t <= high * 1.25);
  const order = [...best.keys()].sort((a, b) => best.get(b)! - best.get(a)!);
  return {
    title: {
      text: `Vulkan against the CPU on ${device}`,
      subtitle: `${machine}: CPU time / Vulkan time; right of the line Vulkan is faster`,
      anchor: 'start',
      fontSize: 15,
      subtitleFontSize: 11,
      subtitleColor: '#555555',
      offset: 12,
    },
    data: { values },
    facet: {
      column: {
        field: 'scenario',
        type: 'nominal',
        sort: scenarios.map(([name]) => name),
        header: { title: null, labelFontSize: 12, labelFontWeight: 'bold' },
      },
    },
    spec: {
      width: 330,
      height: { step: 15 },
      layer: [
        {
          mark: { type: 'rule', color: '#c0392b', strokeWidth: 1.5 },
          encoding: { x: { datum: 1, type: 'quantitative' } },
        },
        {
          mark: { type: 'point', filled: true, size: 62, opacity: 0.95 },
          encoding: {
            x: {
              field: 'speed',
              type: 'quantitative',
              scale: { type: 'log', nice: false, padding: 12 },
              axis: { title: 'speed-up (log scale)', values: ticks, labelExpr: "datum.value + '×'" },
            },
            y: { field: 'op', type: 'nominal', sort: order, axis: { title: null, grid: true } },
            color: {
              field: 'size',
              type: 'nominal',
              sort: sizes,
              scale: { domain: sizes, range: colors.slice(0, Math.max(sizes.length, 1)) },
              legend: { title: 'size', orient: 'top', direction: 'horizontal' },
            },
            shape: {
              field: 'size',
              type: 'nominal',
              sort: sizes,
              scale: { domain: sizes, range: ['circle', 'square', 'diamond', 'triangle-up', 'cross'] },
            },
          },
        },
      ],
    },
  };
}
