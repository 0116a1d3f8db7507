/** Every op on each Vulkan device, under the validation layer where there is one. */
import { describe, it } from 'vitest';
import { survey } from '../src/runtime/runtime.js';
import { conformance } from './support/conformance-suite.js';

const found = survey();
const validate = found.layers.some((layer) => layer.includes('VK_LAYER_KHRONOS_validation'));
const devices = found.devices.filter((d) => !d.unusable);

for (const d of devices)
  conformance(`vulkan:${d.index} ${d.name}`, { device: d.index, route: 'gpu', validate, cacheFolder: '' });
if (devices.length === 0) describe('no Vulkan device', () => it.skip('has nothing to conform'));
