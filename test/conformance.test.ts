/** Every op, every sample, every dtype, on the CPU and on each Vulkan device, against the Float64 reference. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ops } from '../src/ops/registry.js';
import { Runtime, survey } from '../src/runtime/runtime.js';
import { conform } from './support/conformance.js';

const found = survey();
const devices = found.devices.filter((d) => !d.unusable);
const validated = found.layers.some((layer) => layer.includes('VK_LAYER_KHRONOS_validation'));

const sides = [
  { side: 'cpu', options: { device: 'none', route: 'cpu' as const } },
  ...devices.map((d) => ({
    side: `vulkan:${d.index} ${d.name}`,
    options: { device: d.index, route: 'gpu' as const, validate: validated, cacheFolder: '' },
  })),
];

describe('a Vulkan device', () => {
  it('is there where one is required', ({ skip }) => {
    if (devices.length === 0 && process.env.ATTN_VK_REQUIRE_GPU !== '1')
      skip(`no Vulkan device: ${found.loaderError || found.attempts.join('; ')}`);
    expect(devices.length, found.attempts.join('\n')).toBeGreaterThan(0);
    expect(validated, 'the validation layer is not installed: vulkan-validationlayers').toBe(true);
  });
});

describe.each(sides)('$side', ({ options }) => {
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
