/** A curve as text: steps to the right, values upwards. */
import { plot } from 'asciichart';

export interface Point {
  step: number;
  value: number;
}

/** Points are averaged into `width` columns; values that are not finite are left out. '' for fewer than two steps. */
export function curve(points: readonly Point[], { width = 60, height = 8 } = {}): string {
  const finite = points.filter((p) => Number.isFinite(p.value));
  const first = finite[0]?.step ?? 0;
  const span = (finite.at(-1)?.step ?? 0) - first;
  if (!(span > 0)) return '';
  const columns = Array.from({ length: width }, () => ({ sum: 0, n: 0 }));
  for (const { step, value } of finite) {
    const column = columns[Math.min(width - 1, Math.floor(((step - first) / span) * width))]!;
    column.sum += value;
    column.n++;
  }
  const means = columns.map(({ sum, n }) => (n > 0 ? sum / n : Number.NaN));
  bridge(means);
  const level = Math.max(...means) === Math.min(...means);
  const drawn = plot(means, { height: level ? 1 : height, format: (value) => label(value).padStart(8) });
  const from = `step ${first}`;
  const to = String(finite.at(-1)!.step);
  return `${drawn}\n${' '.repeat(10)}${from}${to.padStart(Math.max(1, width - from.length))}`;
}

/** Columns without a point of their own lie on the line between their neighbours; the first and the last have one. */
function bridge(values: number[]): void {
  let before = 0;
  for (let i = 1; i < values.length; i++) {
    if (Number.isNaN(values[i]!)) continue;
    for (let j = before + 1; j < i; j++)
      values[j] = values[before]! + ((values[i]! - values[before]!) * (j - before)) / (i - before);
    before = i;
  }
}

const label = (value: number): string =>
  Math.abs(value) >= 1e4 || (value !== 0 && Math.abs(value) < 1e-2)
    ? value.toExponential(1)
    : value.toFixed(value < 100 ? 3 : 1);
