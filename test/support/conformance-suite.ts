/** The tests of one side: every op, every sample, every dtype, every GPU variant, against the Float64 reference. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ops } from '../../src/ops/registry.js';
import { Runtime, type RuntimeOptions } from '../../src/runtime/runtime.js';
import { conform } from './conformance.js';

export function conformance(side: string, options: RuntimeOptions): void {
  describe(side, () => {
    let runtime: Runtime;
    beforeAll(() => {
      runtime = new Runtime(options);
    });
    afterAll(() => runtime.dispose());

    it.each(ops.map((op) => ({ name: op.name, op })))(
      '$name',
      async ({ op }) => {
        const outcomes = await conform(op, runtime, { heavy: true, allVariants: true });
        const failed = outcomes.filter((o) => o.status === 'failed');
        expect(failed.map((o) => `${o.op}/${o.variant} ${o.what}: ${o.message}`).join('\n')).toBe('');
        // An op of the CPU alone has nothing to show on a device.
        const wanted = runtime.route === 'gpu' && op.gpu.length === 0 ? 'skipped' : 'passed';
        expect(outcomes.some((o) => o.status === wanted)).toBe(true);
        expect(runtime.takeMessages().join('\n')).toBe('');
        const { buffers, host } = runtime.stats();
        expect({ tensors: runtime.tensors, buffers, live: host.live }).toEqual({
          tensors: 0,
          buffers: 0,
          live: 0,
        });
        runtime.trim();
      },
      300_000,
    );
  });
}
