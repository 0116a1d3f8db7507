/** What a whole run of `bench:vulkan` on one device comes to: figures that belong to no single op. */
import { geometricMean } from 'simple-statistics';
import { chooseVariant } from '../../src/ops/record.js';
import type { Figure } from '../../src/report/json.js';
import type { Caps } from '../../src/runtime/binding.js';
import type { Case } from './cases.js';
import { type Result, rate, rateUnit } from './result.js';
import { barrierHeavy } from './shaders.js';

export function summaryFigures(results: readonly Result[], caps: Caps): Figure[] {
  const out: Figure[] = [];
  const regrets = results.flatMap((r) =>
    r.route ? [r.route.resident.regret, r.route.transfers.regret] : [],
  );
  if (regrets.length > 0)
    out.push(
      { name: 'router', metric: 'regret, geometric mean', value: geometricMean(regrets), unit: 'x' },
      { name: 'router', metric: 'regret, worst', value: Math.max(...regrets), unit: 'x' },
    );
  const streams = results.filter((r) => r.gpu && ['add', 'mul', 'relu'].includes(r.c.op.name));
  if (streams.length > 0)
    out.push({
      name: 'element-wise',
      metric: 'slowest rate of add, mul, relu',
      value: Math.min(...streams.map((r) => rate(r.c, r.gpu!.resident.median))),
      unit: 'GB/s',
    });
  const best = (kind: Case['kind']) =>
    Math.max(
      0,
      ...results.flatMap((r) => (r.gpu && r.c.kind === kind ? [rate(r.c, r.gpu.resident.median)] : [])),
    );
  for (const kind of ['element-wise', 'matmul'] as const) {
    const value = best(kind);
    const of = results.find((r) => r.c.kind === kind);
    if (value > 0 && of) out.push({ name: kind, metric: 'best rate', value, unit: rateUnit(of.c) });
  }
  if (caps.type === 'cpu')
    out.push({
      name: 'kernels with barriers',
      metric: 'chosen',
      value: results.filter(({ c }) => usesBarriers(c, caps)).length,
      unit: '',
    });
  return out;
}

function usesBarriers(c: Case, caps: Caps): boolean {
  const variant = chooseVariant(c.op, c.problem as never, caps);
  if (typeof variant === 'string') return false;
  return variant.plan(c.problem as never, caps).dispatches.some((d) => barrierHeavy(d.shader));
}
