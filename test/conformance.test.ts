/** Every op on the CPU, and that there is a device for test/conformance.vulkan.test.ts. */
import { describe, expect, it } from 'vitest';
import { survey } from '../src/runtime/runtime.js';
import { conformance } from './support/conformance-suite.js';

const found = survey();
const devices = found.devices.filter((d) => !d.unusable);
const validated = found.layers.some((layer) => layer.includes('VK_LAYER_KHRONOS_validation'));

describe('a Vulkan device', () => {
  it('is there where one is required', ({ skip }) => {
    if (devices.length === 0 && process.env.ATTN_VK_REQUIRE_GPU !== '1')
      skip(`no Vulkan device: ${found.loaderError || found.attempts.join('; ')}`);
    expect(devices.length, found.attempts.join('\n')).toBeGreaterThan(0);
    expect(validated, 'the validation layer is not installed: vulkan-validationlayers').toBe(true);
  });
});

conformance('cpu', { device: 'none', route: 'cpu' });
