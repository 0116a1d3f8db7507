/** `attn-vk doctor`: what this machine offers, what was tried, and why something does not work. */
import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import type { Caps } from '../runtime/binding.js';
import { loadedFrom } from '../runtime/load.js';
import { type CpuInfo, native, type Routing, type Survey } from '../runtime/native.js';
import { cacheFolder } from '../runtime/options.js';
import { Runtime } from '../runtime/runtime.js';
import { size } from './output.js';

export interface Diagnosis {
  version: string;
  node: string;
  platform: string;
  addon: { path: string } | { error: string };
  cpu: CpuInfo | null;
  vulkan: Survey | null;
  /** By device: is it calibrated, and what the self-tests of its GPU variants gave ('' passed). */
  routing: ({ device: number } & Partial<Routing> & { error?: string })[];
  /** What ended the process that looked at the Vulkan drivers, if something did. */
  crash: string | null;
  cache: { folder: string; files: { name: string; bytes: number }[] };
}

/** Set in the process that looks: drivers are foreign code, and one that crashes must not take the doctor along. */
const LOOKING = 'ATTN_VK_DOCTOR_LOOKING';

export function doctorCommand(program: Command, version: string): void {
  program
    .command('doctor')
    .description('show the CPU, the Vulkan loader, drivers and devices, what was tried and what failed')
    .option('--json', 'print everything as JSON')
    .option('--require-gpu', 'exit with status 3 where no Vulkan device is usable')
    .action((options: { json?: boolean; requireGpu?: boolean }) => {
      const diagnosis = process.env[LOOKING] ? look(version) : lookFromAside(version);
      process.stdout.write(options.json ? `${JSON.stringify(diagnosis, null, 2)}\n` : format(diagnosis));
      if ('error' in diagnosis.addon) process.exitCode = 1;
      else if (options.requireGpu && !diagnosis.vulkan?.devices.some((d) => !d.unusable)) {
        process.stderr.write('attn-vk: no usable Vulkan device, and --require-gpu was given\n');
        process.exitCode = 3;
      }
    });
}

/** Everything, from this process. */
function look(version: string): Diagnosis {
  const diagnosis: Diagnosis = {
    version,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    addon: { error: '' },
    cpu: null,
    vulkan: null,
    routing: [],
    crash: null,
    cache: cacheFiles(),
  };
  try {
    const addon = native();
    diagnosis.addon = { path: loadedFrom! };
    diagnosis.cpu = addon.cpuInfo();
    // A parent that looks again after a crash asks for everything but the drivers.
    if (process.env[LOOKING] !== 'cpu') {
      diagnosis.vulkan = addon.survey();
      diagnosis.routing = diagnosis.vulkan.devices.filter((d) => !d.unusable).map((d) => openDevice(d.index));
    }
  } catch (error) {
    diagnosis.addon = { error: error instanceof Error ? error.message : String(error) };
  }
  return diagnosis;
}

/** Opens a device as a program would, and reads what is known of it from earlier runs. */
function openDevice(device: number): Diagnosis['routing'][number] {
  try {
    using runtime = new Runtime({ device, route: 'auto' });
    return { device, ...runtime.routing() };
  } catch (error) {
    return { device, error: error instanceof Error ? error.message : String(error) };
  }
}

/** Everything, from a process of its own; once more without the drivers where that one crashed. */
function lookFromAside(version: string): Diagnosis {
  const cli = fileURLToPath(new URL('./index.js', import.meta.url));
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, [cli, 'doctor', '--json'], {
    encoding: 'utf8',
    env: { ...process.env, [LOOKING]: 'all' },
    maxBuffer: 2 ** 26,
    timeout: 60_000,
  });
  process.stderr.write(stderr);
  try {
    return JSON.parse(stdout);
  } catch {
    process.env[LOOKING] = 'cpu';
    const crash = signal ? `was ended by ${signal}` : `ended with status ${status}`;
    return { ...look(version), crash: `a process that listed the Vulkan devices ${crash}` };
  }
}

function cacheFiles(): Diagnosis['cache'] {
  const folder = cacheFolder();
  try {
    const files = readdirSync(folder).map((name) => ({ name, bytes: statSync(join(folder, name)).size }));
    return { folder, files };
  } catch {
    return { folder, files: [] };
  }
}

export function format(d: Diagnosis): string {
  const lines = [`attn-vk ${d.version}, Node ${d.node}, ${d.platform}`];
  if ('error' in d.addon) lines.push('', 'Native addon: NOT LOADED', d.addon.error);
  else lines.push(`Native addon  ${d.addon.path}`);
  if (d.cpu) lines.push(...cpuLines(d.cpu));
  if (d.crash) lines.push('', `Vulkan: ${d.crash}: a driver is broken.`, `  ${driverHint}`);
  if (d.vulkan) lines.push('', ...vulkanLines(d.vulkan));
  for (const r of d.routing) lines.push(...routingLines(r));
  const { folder, files } = d.cache;
  lines.push('', `Cache  ${folder}${files.length ? '' : ' (empty)'}`);
  for (const { name, bytes } of files) lines.push(`  ${name}  ${size(bytes)}`);
  return `${lines.join('\n')}\n`;
}

const driverHint = 'name the driver files to use in VK_DRIVER_FILES, one at a time, to find the one at fault';

function cpuLines(cpu: CpuInfo): string[] {
  return [
    `CPU           ${cpu.model}: ${cpu.cores} cores and ${size(cpu.memoryBytes)} for this process`,
    `              ${cpu.features.join(' ') || 'no vector extensions found'}`,
    `              ${cpu.kernels.length} kernels`,
  ];
}

function vulkanLines(v: Survey): string[] {
  const usable = v.devices.filter((d) => !d.unusable).length;
  return [
    v.loader
      ? `Vulkan loader ${v.loaderPath}, ${v.loaderVersion}`
      : `Vulkan loader NOT FOUND: ${v.loaderError || 'no reason given'}`,
    ...section('Drivers', v.drivers),
    ...section('Layers', v.layers),
    ...v.devices.flatMap(deviceLines),
    ...(usable === 0 ? section('Tried', v.attempts) : []),
    ...(usable === 0 ? ['No usable Vulkan device: ops run on the CPU.', `  ${missingHint(v)}`] : []),
  ];
}

function missingHint(v: Survey): string {
  if (!v.loader)
    return 'install the loader and a driver: sudo apt-get install libvulkan1 mesa-vulkan-drivers';
  if (v.drivers.length === 0) return 'install a driver: sudo apt-get install mesa-vulkan-drivers';
  return driverHint;
}

function deviceLines(d: Caps): string[] {
  const has = (name: string, yes: boolean) => `${yes ? '' : 'no '}${name}`;
  return [
    `Device ${d.index}  ${d.name} (${d.type})${d.unusable ? `: UNUSABLE: ${d.unusable}` : ''}`,
    `  driver    ${d.driverName} ${d.driverInfo}, Vulkan ${d.apiVersion}`,
    `  subgroup  ${d.subgroupSize} (${d.subgroupMin} to ${d.subgroupMax}): ${d.subgroupOps.join(' ')}`,
    `  groups    ${d.maxInvocations} invocations, ${size(d.sharedBytes)} shared, ${d.maxPushBytes} B push constants`,
    `  memory    ${size(d.heapBytes)}, ${size(d.maxBindingBytes)} a binding, ${d.unified ? 'host-visible' : 'staged'}`,
    `  features  ${[
      has('float16', d.float16),
      has('16-bit storage', d.storage16),
      has('timeline semaphores', d.timelineSemaphore),
      has('cooperative matrices', d.cooperativeMatrix),
    ].join(', ')}`,
  ];
}

function routingLines({ device, error, calibrated, probes = {} }: Diagnosis['routing'][number]): string[] {
  if (error) return ['', `Device ${device} does not open: ${error}`];
  const failed = Object.entries(probes).filter(([, reason]) => reason !== '');
  const tested = Object.keys(probes).length;
  return [
    '',
    `Device ${device} opens; ${calibrated ? 'calibrated' : 'not calibrated yet (the first routed op does it)'}`,
    tested === 0
      ? '  self-tests  none yet: each kernel variant is tested when it is first used'
      : `  self-tests  ${tested - failed.length} of ${tested} kernel variants used so far agree with the CPU`,
    ...failed.map(([variant, reason]) => `  NOT USED    ${variant}: ${reason}`),
  ];
}

const section = (title: string, items: readonly string[]): string[] => [
  `${title}${items.length ? '' : ': none'}`,
  ...items.map((item) => `  ${item}`),
];
