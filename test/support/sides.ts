/** The runtimes that tests walk: the CPU alone, and the first usable Vulkan device where there is one. */
import type { RuntimeOptions } from '../../src/runtime/runtime.js';
import { survey } from '../../src/runtime/runtime.js';

export interface Side {
  side: 'cpu' | 'vulkan';
  options: RuntimeOptions;
}

const device = survey().devices.find((d) => !d.unusable);

/** Nothing is kept between tests: no cache folder. */
export const cpu: Side = { side: 'cpu', options: { device: 'none', cacheFolder: '' } };

export const vulkan: Side | undefined = device && {
  side: 'vulkan',
  options: { device: device.index, route: 'gpu', cacheFolder: '' },
};

export const sides: readonly Side[] = vulkan ? [cpu, vulkan] : [cpu];
