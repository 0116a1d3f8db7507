/** The tables of `bench:vulkan`, one pair a size: with resident data, and with transfers both ways. */
import { type Column, textTable, times } from '../../src/report/table.js';
import { documented } from './document.js';
import { type Result, rate, speedUp } from './result.js';

/** Milliseconds with three significant digits, but no more than four decimals. */
const ms = (seconds: number | undefined): string | null => {
  if (seconds === undefined) return null;
  const t = seconds * 1e3;
  return t >= 99.95 ? t.toFixed(0) : t >= 9.995 ? t.toFixed(1) : t >= 0.9995 ? t.toFixed(2) : t.toFixed(4);
};
const percent = (value: number): string => `${(value * 100).toFixed(0)} %`;
const right = (key: string, title?: string): Column => ({ key, title, align: 'right' });
const label = ({ c }: Result) => (c.kind === 'matmul' ? `${c.op.name} ${c.dtype}` : c.op.name);
const unit = (r: Result) => (r.c.kind === 'matmul' ? 'GF' : 'GB');

export function residentTable(results: readonly Result[], color: boolean): string {
  const rows = results.map((r) => {
    const { c, cpu, gpu, route } = r;
    return {
      op: label(r),
      cpu: ms(cpu?.resident.median),
      'cpu ±': ms(cpu?.resident.mad),
      vulkan: ms(gpu?.resident.median),
      'vulkan ±': ms(gpu?.resident.mad),
      single: ms(gpu?.single.median),
      speed: text(speedUp(r, 'resident'), times),
      notes: documented(c.op.name, c.n),
      'cpu rate': cpu ? `${rate(c, cpu.resident.median).toPrecision(3)} ${unit(r)}` : null,
      'of cpu': text(r.cpuCeiling, percent),
      'vulkan rate': gpu ? `${rate(c, gpu.resident.median).toPrecision(3)} ${unit(r)}` : null,
      'of gpu': text(r.gpuCeiling, percent),
      route: route?.resident.choice.side ?? null,
      regret: text(route?.resident.regret, times),
      n: gpu ? Math.min(cpu!.resident.n, gpu.resident.n) : (cpu?.resident.n ?? null),
    };
  });
  const device = results.some((r) => r.gpu);
  const columns: (string | Column)[] = ['op', right('cpu', 'CPU ms'), right('cpu ±', '±')];
  if (device)
    columns.push(
      right('vulkan', 'Vulkan ms'),
      right('vulkan ±', '±'),
      right('single'),
      right('speed', 'speed-up'),
      {
        ...right('notes'),
        title: '"notes"',
      },
    );
  columns.push(right('cpu rate', 'CPU /s'), right('of cpu', 'of ceiling'));
  if (device)
    columns.push(
      right('vulkan rate', 'Vulkan /s'),
      right('of gpu', 'of ceiling'),
      { key: 'route', title: 'router' },
      right('regret'),
    );
  columns.push(right('n'));
  return textTable(rows, columns, { color });
}

export function transfersTable(results: readonly Result[], color: boolean): string {
  const rows = results.map((r) => ({
    op: label(r),
    cpu: ms(r.cpu?.transfers.median),
    'cpu ±': ms(r.cpu?.transfers.mad),
    vulkan: ms(r.gpu?.transfers.median),
    'vulkan ±': ms(r.gpu?.transfers.mad),
    speed: text(speedUp(r, 'transfers'), times),
    route: r.route?.transfers.choice.side ?? null,
    regret: text(r.route?.transfers.regret, times),
    n: r.gpu ? Math.min(r.cpu!.transfers.n, r.gpu.transfers.n) : (r.cpu?.transfers.n ?? null),
  }));
  const columns: (string | Column)[] = ['op', right('cpu', 'CPU ms'), right('cpu ±', '±')];
  if (results.some((r) => r.gpu))
    columns.push(
      right('vulkan', 'Vulkan ms'),
      right('vulkan ±', '±'),
      right('speed', 'speed-up'),
      { key: 'route', title: 'router' },
      right('regret'),
    );
  columns.push(right('n'));
  return textTable(rows, columns, { color });
}

const text = (value: number | null | undefined, format: (v: number) => string): string | null =>
  value === null || value === undefined ? null : format(value);
