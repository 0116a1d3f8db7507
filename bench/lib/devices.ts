/** The Vulkan devices that a benchmark runs on, or why there is none. */
import type { Caps } from '../../src/runtime/binding.js';
import { DeviceError } from '../../src/runtime/errors.js';
import { survey } from '../../src/runtime/runtime.js';

export interface Found {
  devices: Caps[];
  /** Why there are none; '' where there are. */
  reason: string;
}

/** All usable devices, or the one that `wanted` (its number or a part of its name) names; 'none' for none. */
export function findDevices(wanted: string | undefined): Found {
  if (wanted === 'none') return { devices: [], reason: "'none' was asked for" };
  const found = survey();
  const matches = (d: Caps) =>
    wanted === undefined ||
    (/^\d+$/.test(wanted) ? d.index === Number(wanted) : d.name.toLowerCase().includes(wanted.toLowerCase()));
  const devices = found.devices.filter((d) => !d.unusable && matches(d));
  if (devices.length > 0) return { devices, reason: '' };
  const seen = found.devices.map((d) => `${d.index}: ${d.name}${d.unusable ? ` (${d.unusable})` : ''}`);
  const reason =
    found.loaderError ||
    (seen.length === 0
      ? ['no driver reports a device', ...found.attempts].join('; ')
      : wanted === undefined
        ? `found ${seen.join(', ')}`
        : `none matches '${wanted}' among ${seen.join(', ')}`);
  // Whoever names a device means that one: the CPU's figures alone would not answer.
  if (wanted) throw new DeviceError(`no such Vulkan device: ${reason}`, { hint: 'run `attn-vk doctor`' });
  return { devices: [], reason };
}

/** 'llvmpipe (LLVM 15.0.6, 256 bits)' → 'llvmpipe-llvm-15-0-6-256-bits' */
export const slug = (name: string): string =>
  name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
