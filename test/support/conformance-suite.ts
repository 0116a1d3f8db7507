/** The tests of one side: every op, every sample, every dtype, every GPU variant, against the Float64 reference. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Op } from '../../src/ops/contract.js';
import { ops } from '../../src/ops/registry.js';
import { Runtime, type RuntimeOptions, survey } from '../../src/runtime/runtime.js';
import { conform } from './conformance.js';

export function conformance(
  side: string,
  options: RuntimeOptions,
  which: (op: Op) => boolean = () => true,
): void {
  describe(side, () => {
    let runtime: Runtime;
    beforeAll(() => {
      runtime = new Runtime(options);
    });
    afterAll(() => runtime.dispose());

    it.each(ops.filter(which).map((op) => ({ name: op.name, op })))(
      '$name',
      async ({ op }) => {
        const outcomes = await conform(op, runtime, { heavy: true, allVariants: true, halves: 'some' });
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

/** The same on each Vulkan device, under the validation layer where there is one. */
export function vulkanConformance(which: (op: Op) => boolean): void {
  const found = survey();
  const validate = found.layers.some((layer) => layer.includes('VK_LAYER_KHRONOS_validation'));
  const devices = found.devices.filter((d) => !d.unusable);
  for (const { index, name } of devices)
    conformance(`vulkan:${index} ${name}`, { device: index, route: 'gpu', validate, cacheFolder: '' }, which);
  if (devices.length === 0) describe('no Vulkan device', () => it.skip('has nothing to conform'));
}

/** Their pipelines take a driver longest to compile: a file, and so a process, of their own. */
export const isAttention = ({ name }: Op): boolean => name.includes('attention');
