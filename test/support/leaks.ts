/**
 * After every test file: no runtime is left running, and on the default one, whose tensors nobody counts, none is left
 * that the garbage collector does not take. A file that leaves something fails here.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, expect } from 'vitest';
import { aliveRuntimes, useRuntime } from '../../src/runtime/runtime.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

afterAll(async () => {
  const standard = useRuntime(undefined);
  const others = aliveRuntimes().filter((r) => r !== standard);
  expect(others.length, 'runtimes that were not disposed').toBe(0);
  if (!standard || standard.disposed) return;
  for (let i = 0; i < 10 && standard.tensors > 0; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(standard.tensors, 'tensors that are held by nobody and were not ended').toBe(0);
  expect(standard.stats().buffers, 'buffers without a tensor').toBe(0);
  standard.dispose();
});
