/** What a runtime is made with: options, then the environment, then what this machine has; all of it checked. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ArgumentError, DeviceError } from './errors.js';
import { packageVersion } from './load.js';
import { log } from './log.js';
import { type EngineOptions, native, type Route, type Survey } from './native.js';

export interface RuntimeOptions {
  /** Vulkan device: its number, a part of its name, or 'none'. Default: $ATTN_VK_DEVICE, else the best one. */
  device?: number | string;
  /** Which side runs the ops. Default: $ATTN_VK_ROUTE, else 'auto'. */
  route?: Route;
  /** Vulkan validation layer; messages come from `takeMessages()`. Default: $ATTN_VK_VALIDATE === '1'. */
  validate?: boolean;
  /** CPU threads. Default: $ATTN_VK_THREADS, else the cores that the cgroup gives. */
  threads?: number;
  /** Bytes of host memory that tensors may use. Default: $ATTN_VK_HOST_BUDGET, else 80 % of what the process has. */
  hostBudget?: number;
  /** Bytes of device memory. Default: $ATTN_VK_DEVICE_BUDGET, else the driver's budget. */
  deviceBudget?: number;
  /** Folder of the pipeline cache and the calibration; '' keeps nothing. Default: $ATTN_VK_CACHE, else the user's cache folder. */
  cacheFolder?: string;
}

/** Throws ArgumentError or DeviceError, naming the option or the variable. */
export function resolve(options: RuntimeOptions): EngineOptions {
  checkOptions(options);
  const route = checkRoute(options.route ?? (process.env.ATTN_VK_ROUTE || 'auto'));
  const wanted = options.device ?? process.env.ATTN_VK_DEVICE;
  const device = route === 'cpu' && wanted === undefined ? undefined : chooseDevice(wanted, route);
  const cpu = native().cpuInfo();
  const wantedThreads = options.threads ?? envNumber('ATTN_VK_THREADS', 'a number of threads', '4');
  const threads = checkNumber('threads', wantedThreads ?? cpu.cores, 1, 1024);
  if (!Number.isInteger(threads))
    throw new ArgumentError(`threads is ${threads}`, { hint: 'give a whole number' });
  const hostBudget =
    options.hostBudget ?? envBytes('ATTN_VK_HOST_BUDGET') ?? Math.floor(cpu.memoryBytes * 0.8);
  const deviceBudget = options.deviceBudget ?? envBytes('ATTN_VK_DEVICE_BUDGET') ?? 0;
  return {
    device,
    validate: options.validate ?? process.env.ATTN_VK_VALIDATE === '1',
    route: device === undefined ? 'cpu' : route,
    threads,
    hostBudget: checkNumber('hostBudget', hostBudget, 0, 2 ** 50),
    deviceBudget: checkNumber('deviceBudget', deviceBudget, 0, 2 ** 50),
    cacheFolder: options.cacheFolder ?? cacheFolder(),
    version: packageVersion(),
    onWarning: (message) => log('warn', message),
  };
}

/** Loader, drivers and devices, and how each was found; never throws for what is broken there. */
export const survey = (): Survey => native().survey();

/** $ATTN_VK_CACHE, else $XDG_CACHE_HOME/attn-vk, else ~/.cache/attn-vk. */
export const cacheFolder = (): string =>
  process.env.ATTN_VK_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'attn-vk');

function checkNumber(name: string, value: unknown, least: number, most: number): number {
  if (typeof value === 'number' && value >= least && value <= most) return value;
  throw new ArgumentError(`${name} is ${String(value)}`, { hint: `give a number from ${least} to ${most}` });
}

/** What is checked nowhere else: the kinds of things that cross the border to native code. */
function checkOptions(options: unknown): asserts options is RuntimeOptions {
  const refuse = (what: string, hint: string): never => {
    throw new ArgumentError(what, { hint });
  };
  if (typeof options !== 'object' || options === null)
    return refuse(`the options are ${typeof options}`, "give an object, for example { route: 'cpu' }");
  const { device, cacheFolder } = options as Record<string, unknown>;
  if (device !== undefined && typeof device !== 'number' && typeof device !== 'string')
    refuse(`device is of type ${typeof device}`, "give a number, a part of a name, or 'none'");
  if (cacheFolder !== undefined && typeof cacheFolder !== 'string')
    refuse(`cacheFolder is of type ${typeof cacheFolder}`, "give a path, or '' to keep nothing");
}

export function checkRoute(route: unknown): Route {
  if (route === 'auto' || route === 'cpu' || route === 'gpu') return route;
  throw new ArgumentError(`unknown route '${String(route)}'`, { hint: "use 'auto', 'cpu' or 'gpu'" });
}

/** A positive number from the environment; undefined where the variable is unset or empty. */
function envNumber(name: string, what: string, example: string): number | undefined {
  const value = process.env[name];
  if (!value) return undefined;
  const number = Number(value);
  if (Number.isFinite(number) && number > 0) return number;
  throw new ArgumentError(`${name}=${value} is not ${what}`, { hint: `for example ${example}` });
}

const envBytes = (name: string): number | undefined => envNumber(name, 'a number of bytes', '4e9');

/** The number of the device to open, or undefined for the CPU alone. */
function chooseDevice(wanted: number | string | undefined, route: Route): number | undefined {
  if (wanted === 'none') {
    if (route === 'gpu')
      throw new DeviceError("device 'none' cannot serve route 'gpu'", {
        hint: 'name a device, or leave the route out',
      });
    return undefined;
  }
  const found = survey();
  const usable = found.devices.filter((d) => !d.unusable);
  const listing = found.devices
    .map((d) => `${d.index}: ${d.name}${d.unusable ? ` (${d.unusable})` : ''}`)
    .join(', ');
  if (wanted !== undefined && wanted !== '') {
    const chosen = found.devices.find((d) =>
      typeof wanted === 'number' || /^\d+$/.test(wanted)
        ? d.index === Number(wanted)
        : d.name.toLowerCase().includes(wanted.toLowerCase()),
    );
    if (!chosen)
      throw new DeviceError(`no Vulkan device matches '${wanted}'; found ${listing || 'none'}`, {
        hint: found.loaderError || 'run `attn-vk doctor`',
      });
    if (chosen.unusable)
      throw new DeviceError(`Vulkan device ${chosen.name} cannot be used: ${chosen.unusable}`, {
        hint: listing ? `found ${listing}` : 'run `attn-vk doctor`',
      });
    return chosen.index;
  }
  const order = ['discrete', 'integrated', 'virtual', 'other', 'cpu'];
  usable.sort((a, b) => order.indexOf(a.type) - order.indexOf(b.type));
  if (!usable[0]) {
    const reason = found.loaderError || (listing ? `found ${listing}` : 'no driver reports a device');
    if (route === 'gpu')
      throw new DeviceError(`no Vulkan device: ${reason}`, { hint: 'run `attn-vk doctor`' });
    log('info', `no Vulkan device (${reason}): running on the CPU alone`);
    return undefined;
  }
  return usable[0].index;
}
