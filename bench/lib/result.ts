/** One row of `bench:vulkan`: a case on the CPU and, where there is one, on a device. */

import type { Cell } from '../../src/io/csv.js';
import type { Figure } from '../../src/report/json.js';
import type { Explanation } from '../../src/runtime/native.js';
import type { Case } from './cases.js';
import { documented } from './document.js';
import type { Summary } from './stats.js';

/** Times of one op, in seconds. */
export interface SideTimes {
  /** Operands where the op runs, result left there, many ops between two syncs. */
  resident: Summary;
  /** The same, one op and a wait for it. */
  single: Summary;
  /** Operands in host memory, result read into a typed array. */
  transfers: Summary;
}

export interface Result {
  c: Case;
  cpu?: SideTimes;
  gpu?: SideTimes;
  /** What the router chose, and the time of its choice over that of the better side. */
  route?: Record<'resident' | 'transfers', { choice: Explanation; regret: number }>;
  /** Fractions of the ceilings. */
  cpuCeiling?: number;
  gpuCeiling?: number;
  /** The GPU kernel's result is wrong, or it could not run. */
  failure?: string;
}

export const rateUnit = (c: Case): string => (c.kind === 'matmul' ? 'GFLOP/s' : 'GB/s');

/** Billions of flops (matmul) or bytes (all else) a second. */
export function rate(c: Case, seconds: number): number {
  const { flops, bytes } = c.op.cost(c.problem as never);
  return (c.kind === 'matmul' ? flops : bytes) / seconds / 1e9;
}

export const speedUp = (r: Result, scenario: 'resident' | 'transfers'): number | null =>
  r.cpu && r.gpu ? r.cpu[scenario].median / r.gpu[scenario].median : null;

const ms = (s: Summary | undefined) => (s ? s.median * 1e3 : null);
const spread = (s: Summary | undefined) => (s ? s.mad * 1e3 : null);

/** Everything about a result in one flat row: what the CSV holds. Times in milliseconds. */
export function flat(r: Result): Record<string, Cell> {
  const { c, cpu, gpu, route } = r;
  return {
    op: c.op.name,
    dtype: c.dtype,
    n: c.n,
    cpu_ms: ms(cpu?.resident),
    cpu_mad_ms: spread(cpu?.resident),
    vulkan_ms: ms(gpu?.resident),
    vulkan_mad_ms: spread(gpu?.resident),
    vulkan_single_ms: ms(gpu?.single),
    cpu_transfers_ms: ms(cpu?.transfers),
    vulkan_transfers_ms: ms(gpu?.transfers),
    vulkan_transfers_mad_ms: spread(gpu?.transfers),
    speedup_resident: speedUp(r, 'resident'),
    speedup_transfers: speedUp(r, 'transfers'),
    notes_speedup: documented(c.op.name, c.n),
    unit: rateUnit(c),
    cpu_rate: cpu ? rate(c, cpu.resident.median) : null,
    cpu_of_ceiling: r.cpuCeiling ?? null,
    vulkan_rate: gpu ? rate(c, gpu.resident.median) : null,
    vulkan_of_ceiling: r.gpuCeiling ?? null,
    route_resident: route?.resident.choice.side ?? null,
    regret_resident: route?.resident.regret ?? null,
    route_transfers: route?.transfers.choice.side ?? null,
    regret_transfers: route?.transfers.regret ?? null,
    route_source: route?.resident.choice.source ?? null,
    cpu_n: cpu?.resident.n ?? null,
    vulkan_n: gpu?.resident.n ?? null,
    vulkan_transfers_n: gpu?.transfers.n ?? null,
    failure: r.failure ?? null,
  };
}

/** The result as figures of the JSON report. */
export function figures(r: Result): Figure[] {
  const { c, cpu, gpu, route } = r;
  const out: Figure[] = [];
  const put = (
    metric: string,
    value: number | null | undefined,
    unit: string,
    more: Partial<Figure> = {},
  ) => {
    if (value !== null && value !== undefined) out.push({ name: c.name, metric, value, unit, ...more });
  };
  put('cpu', ms(cpu?.resident), 'ms');
  put('cpu spread', spread(cpu?.resident), 'ms');
  put('vulkan resident', ms(gpu?.resident), 'ms', against('cpu', gpu?.resident, cpu?.resident));
  put('vulkan resident spread', spread(gpu?.resident), 'ms');
  put('vulkan single', ms(gpu?.single), 'ms');
  put('cpu end to end', ms(cpu?.transfers), 'ms');
  put('vulkan with transfers', ms(gpu?.transfers), 'ms', against('cpu', gpu?.transfers, cpu?.transfers));
  put('vulkan with transfers spread', spread(gpu?.transfers), 'ms');
  put('speed-up resident', speedUp(r, 'resident'), 'x');
  put('speed-up with transfers', speedUp(r, 'transfers'), 'x');
  if (cpu) put('cpu rate', rate(c, cpu.resident.median), rateUnit(c));
  put('cpu of ceiling', r.cpuCeiling, '');
  if (gpu) put('vulkan rate', rate(c, gpu.resident.median), rateUnit(c));
  put('vulkan of ceiling', r.gpuCeiling, '');
  put('regret resident', route?.resident.regret, 'x');
  put('regret with transfers', route?.transfers.regret, 'x');
  return out;
}

const against = (peer: string, ours: Summary | undefined, theirs: Summary | undefined): Partial<Figure> =>
  ours && theirs ? { peer, ratio: ours.median / theirs.median } : {};
