/** Where a run computes: what a checkpoint remembers of it, and whether another place would give other bits. */
import { availableParallelism, cpus } from 'node:os';
import { DeviceError } from '../runtime/errors.js';
import { log } from '../runtime/log.js';
import type { Route } from '../runtime/native.js';
import { Runtime, runtime, useRuntime } from '../runtime/runtime.js';
import type { RunConfig } from './config.js';

export interface Place {
  /** Of the Vulkan device; null: there is none. */
  device: string | null;
  driver: string | null;
  route: Route;
  cpu: string;
  cores: number;
  threads: number;
}

export function placeOf({ caps, route, threads }: Runtime): Place {
  return {
    device: caps?.name ?? null,
    driver: caps ? `${caps.driverName} ${caps.driverInfo}`.trim() : null,
    route,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    threads,
  };
}

const inWords = ({ device, route, cpu }: Place): string =>
  `${device === null || route === 'cpu' ? cpu : device}, route '${route}'`;

const accepting = 'name what to use from now on, and bits may differ: --set device=… or --set route=cpu';

/**
 * The runtime that a configuration asks for, made the current one; the current one where it asks for none.
 * @throws DeviceError, which names both places where the one of the checkpoint is not there
 */
export function openPlace({ device, route }: RunConfig, saved?: Place): { runtime: Runtime; close(): void } {
  if (device === undefined && route === undefined) return { runtime: runtime(), close: () => undefined };
  let made: Runtime;
  try {
    made = new Runtime({ device, route });
  } catch (error) {
    if (!(error instanceof DeviceError) || !saved) throw error;
    throw new DeviceError(`the checkpoint was made on ${inWords(saved)}; here ${error.what}`, {
      hint: accepting,
      cause: error,
    });
  }
  const before = useRuntime(made);
  return {
    runtime: made,
    close() {
      made.dispose();
      useRuntime(before);
    },
  };
}

/**
 * Whether a run may go on here. What decides about bits is the device and the side that computes; where they differ the
 * configuration must say so in words of its own.
 * @throws DeviceError
 */
export function checkPlace(here: Place, saved: Place, now: RunConfig, then: RunConfig): void {
  const asked = (['device', 'route'] as const).some((k) => now[k] !== undefined && now[k] !== then[k]);
  const same = here.route === saved.route && (here.route === 'cpu' || here.device === saved.device);
  if (!same && !asked)
    throw new DeviceError(`the checkpoint was made on ${inWords(saved)}; this is ${inWords(here)}`, {
      hint: accepting,
    });
  const changes = (['device', 'driver', 'route', 'cpu', 'threads'] as const).filter(
    (k) => here[k] !== saved[k] && !(here.route === 'cpu' && (k === 'device' || k === 'driver') && same),
  );
  if (changes.length > 0)
    log(
      'warn',
      `training goes on elsewhere, and bits may differ: ${changes.map((k) => `${k} ${saved[k]} → ${here[k]}`).join(', ')}`,
    );
}
