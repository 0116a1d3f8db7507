/** What scopes end is none of V8's business: it must not collect garbage for it. */
import { constants, PerformanceObserver } from 'node:perf_hooks';
import { afterEach, expect, it } from 'vitest';
import { fill, mul, scope, sum } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { cpu } from './support/sides.js';

let runtime: Runtime | undefined;
afterEach(() => {
  useRuntime(undefined);
  runtime?.dispose();
});

it('large tensors of scopes cause no full collections', async () => {
  runtime = new Runtime(cpu.options);
  useRuntime(runtime);
  let full = 0;
  const watch = new PerformanceObserver((list) => {
    for (const entry of list.getEntries())
      if (
        (entry as unknown as { detail: { kind: number } }).detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR
      )
        full++;
  });
  watch.observe({ entryTypes: ['gc'] });
  for (let round = 0; round < 24; round++)
    await scope(async () => {
      let x = fill({ shape: [4 * 2 ** 20], value: 1 });
      for (let i = 0; i < 8; i++) x = mul(x, 1);
      await sum(x).item();
    });
  await new Promise((resolve) => setTimeout(resolve, 20));
  watch.disconnect();
  expect(full).toBeLessThan(8);
});
