import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { bind, check } from '../../bench/lib/bounds.js';
import { cases, makeCase } from '../../bench/lib/cases.js';
import { comparisons } from '../../bench/lib/comparisons.js';
import { slug } from '../../bench/lib/devices.js';
import { difference, rawOperands } from '../../bench/lib/operands.js';
import { figures, flat, type Result, rate, speedUp } from '../../bench/lib/result.js';
import { barrierHeavy } from '../../bench/lib/shaders.js';
import { wrong } from '../../bench/lib/spot-check.js';
import { batchSize, interleave } from '../../bench/lib/timing.js';
import { speedUpChart } from '../../bench/lib/vulkan-chart.js';
import { residentTable, transfersTable } from '../../bench/lib/vulkan-table.js';
import { opNamed, ops } from '../../src/ops/registry.js';
import { writeChart } from '../../src/report/chart.js';
import type { Figure } from '../../src/report/json.js';

const quietly = <T>(fn: () => T): [T, string] => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  try {
    return [fn(), log.mock.calls.flat().join('\n')];
  } finally {
    log.mockRestore();
  }
};

describe('timing', () => {
  test('contenders take turns, and each gets its samples', async () => {
    const order: string[] = [];
    const contender = (name: string, seconds: number) => ({
      sample: async () => {
        order.push(name);
        return [seconds];
      },
    });
    const { a, b } = await interleave(
      { a: contender('a', 1), b: contender('b', 2) },
      { runs: 10, cap: 1, least: 3 },
    );
    expect(order.join('')).toBe('aabbaabbaabbaabbaabb');
    expect(a).toEqual({ median: 1, mad: 0, n: 10 });
    expect(b.median).toBe(2);
  });

  test('a slow contender stops at the cap, but not before the least number of samples', async () => {
    const slow = {
      sample: async () => {
        await new Promise((resolve) => setTimeout(resolve, 30));
        return [0.03];
      },
    };
    const { only } = await interleave({ only: slow }, { runs: 100, cap: 0.02, least: 3 });
    expect(only.n).toBe(3);
  });

  test.each([
    [2 ** -20, 20972],
    [1e-4, 50],
    [5e-4, 10],
    [3e-3, 2],
    [1, 1],
  ])('an op of %f s is timed in batches of %i', (seconds, count) => {
    expect(batchSize(seconds)).toBe(count);
  });
});

describe('cases', () => {
  test('every unary and binary op, where, cast, and the ops that stand for their kind', () => {
    const names = new Set(cases([64], []).map((c) => c.op.name));
    for (const name of [
      'add',
      'pow',
      'gelu',
      'erf',
      'lessEqual',
      'where',
      'cast',
      'matmul',
      'softmax',
      'sum',
    ])
      expect(names).toContain(name);
    for (const name of ['fill', 'uniform', 'gather', 'concat', 'slice', 'cumsum'])
      expect(names).not.toContain(name);
    const families = ops.filter(
      (op) => op.inputs.length > 0 && ['unary', 'binary'].includes(kernelOf(op.name)),
    );
    expect(families.length).toBeGreaterThan(25);
    for (const op of families) expect(names).toContain(op.name);
  });

  const kernelOf = (name: string) => {
    try {
      return opNamed(name).cpu(makeCase(opNamed(name), 4).problem as never).kernel;
    } catch {
      return '';
    }
  };

  test('matmul comes in float32 and bfloat16, sizes stay apart, unknown ops are refused', () => {
    expect(cases([64, 32], ['matmul']).map((c) => c.name)).toEqual([
      'matmul float32 64x64',
      'matmul bfloat16 64x64',
      'matmul float32 32x32',
      'matmul bfloat16 32x32',
    ]);
    expect(() => cases([64], ['nonsense'])).toThrow(/no op is called 'nonsense'/);
  });
});

describe('correctness before timing', () => {
  test('a wrong element is found, against the other side and against the reference', () => {
    for (const c of [makeCase(opNamed('exp'), 40), makeCase(opNamed('matmul'), 24)]) {
      const right = Float32Array.from(
        c.op.reference(
          rawOperands(c).map((r) => Float64Array.from(r)),
          c.problem as never,
        )[0]!,
      );
      expect(difference(c, right, right)).toBe('');
      expect(wrong(c, right)).toBe('');
      const broken = right.slice();
      broken[0]! += 0.1;
      expect(difference(c, right, broken)).toMatch(/element 0 is/);
      expect(wrong(c, broken)).toMatch(/element 0 is/);
      broken[0] = Number.NaN;
      expect(difference(c, right, broken)).toMatch(/NaN/);
      expect(wrong(c, broken)).toMatch(/NaN/);
    }
  });
});

describe('bounds', () => {
  const figure = (more: Partial<Figure>): Figure => ({
    name: 'matmul float32 512x512',
    metric: 'rate',
    value: 200,
    unit: 'GFLOP/s',
    peer: 'oneDNN',
    ratio: 0.97,
    ...more,
  });

  test('a ratio that falls short fails, one that meets its bound passes', () => {
    for (const [ratio, good] of [
      [0.97, true],
      [0.94, false],
      [Number.NaN, false],
    ] as const) {
      const figures = [figure({ ratio })];
      bind('cpu', figures);
      expect(figures[0]!.bound).toEqual({ atLeast: 0.95 });
      const [met, text] = quietly(() => check(figures, []));
      expect(met).toBe(good);
      expect(text).toContain(good ? '1 of 1 bounds met' : '0 of 1 bounds met');
    }
  });

  test('where one of two things is asked, either will do', () => {
    for (const [value, ratio, good] of [
      [900, 1.04, true],
      [800, 1.3, true],
      [900, 1.3, false],
      [Number.NaN, Number.NaN, false],
    ] as const) {
      const figures = [
        figure({ name: 'layer_norm float32 4096x1024', metric: 'time', unit: 'µs', value, ratio }),
      ];
      bind('cpu', figures);
      const [met, text] = quietly(() => check(figures, []));
      expect(met).toBe(good);
      expect(text).toContain('≤ 1.05 or 850 µs');
    }
  });

  test('nothing measured is a failure, and what is missing is named', () => {
    const open = bind('cpu', []);
    expect(open).toContain('matmul float32 512x512: rate against oneDNN');
    const [met, text] = quietly(() => check([], open));
    expect(met).toBe(false);
    expect(text).toContain('softmax float32 4096x1024');
  });

  test('bounds of a driver bind on that driver alone', () => {
    const dispatch = () => [{ name: 'dispatch', metric: 'time', value: 12, unit: 'µs' }] as Figure[];
    const [there, elsewhere] = [dispatch(), dispatch()];
    bind('vulkan', there, 'llvmpipe (LLVM 15)');
    bind('vulkan', elsewhere, 'NVIDIA H200');
    expect(there[0]!.bound).toEqual({ atMost: 20 });
    expect(elsewhere[0]!.bound).toBeUndefined();
  });

  test('every CPU bound names a figure that bench:cpu makes', () => {
    const made = new Set(comparisons(false).map((c) => c.c.name));
    const named = bind('cpu', []).map((text) => text.split(': ')[0]!);
    for (const name of named) if (!name.startsWith('chain')) expect(made).toContain(name);
  });
});

describe('a result', () => {
  const times = (seconds: number) => ({ median: seconds, mad: seconds / 100, n: 30 });
  const side = (seconds: number) => ({
    resident: times(seconds),
    single: times(2 * seconds),
    transfers: times(3 * seconds),
  });
  const choice = (of: 'cpu' | 'gpu') => ({
    op: 'add',
    problem: '',
    cpu: 1,
    gpu: 1,
    transfer: 0,
    side: of,
    source: 'calibrated' as const,
    reason: '',
  });
  const result: Result = {
    c: makeCase(opNamed('add'), 512),
    cpu: side(4e-4),
    gpu: side(1e-4),
    route: {
      resident: { choice: choice('cpu'), regret: 4 },
      transfers: { choice: choice('gpu'), regret: 1 },
    },
    cpuCeiling: 0.5,
    gpuCeiling: 1,
  };

  test('rates, speed-ups and the flat row agree', () => {
    expect(rate(result.c, 1e-3)).toBeCloseTo(3 * 4 * 512 * 512 * 1e-6, 9);
    expect(speedUp(result, 'resident')).toBeCloseTo(4);
    expect(flat(result)).toMatchObject({
      op: 'add',
      n: 512,
      cpu_ms: 0.4,
      speedup_transfers: expect.closeTo(4),
      notes_speedup: '4.57x',
      route_resident: 'cpu',
      regret_resident: 4,
    });
    const vulkan = figures(result).find((f) => f.metric === 'vulkan resident')!;
    expect(vulkan).toMatchObject({ name: 'add float32 512x512', peer: 'cpu', ratio: 0.25 });
  });

  test('tables show both sides, and the CPU alone where there is no device', () => {
    const both = residentTable([result], false);
    for (const part of ['0.4000', '0.1000', '4.00x', '4.57x', '50 %', 'cpu']) expect(both).toContain(part);
    expect(transfersTable([result], false)).toContain('gpu');
    const alone = residentTable([{ c: result.c, cpu: result.cpu }], false);
    expect(alone).not.toMatch(/vulkan|router|speed-up/i);
  });

  test('the chart is drawn', async () => {
    const out = join(mkdtempSync(join(tmpdir(), 'attn-vk-chart-')), 'a.png');
    const other = { ...result, c: makeCase(opNamed('relu'), 1024), gpu: side(1e-2) };
    await writeChart(speedUpChart([result, other], 'llvmpipe', 'a CPU'), out);
  });
});

test('kernels that wait in loops are told from those that do not', () => {
  expect(barrierHeavy('matmul_shared')).toBe(true);
  expect(barrierHeavy('reduce_shared')).toBe(true);
  expect(barrierHeavy('matmul_nobarrier')).toBe(false);
  expect(barrierHeavy('binary')).toBe(false);
});

test('file names from device names', () => {
  expect(slug('llvmpipe (LLVM 15.0.6, 256 bits)')).toBe('llvmpipe-llvm-15-0-6-256-bits');
});
