/** Machines as they are: no loader, no driver, broken manifests and caches, devices that vanish, kernels that lie. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { relu } from '../src/index.js';
import { type Callable, defineOp, type OpDefinition } from '../src/ops/define.js';
import type { GpuPlan } from '../src/runtime/binding.js';
import { setLogger } from '../src/runtime/log.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { child } from './support/child.js';
import { vulkan } from './support/sides.js';

const folder = mkdtempSync(join(tmpdir(), 'attn-vk-devices-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, text: string) => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

/** Both names of the variable: loaders before 1.3.207 know the second alone. */
const drivers = (path: string) => ({ VK_DRIVER_FILES: path, VK_ICD_FILENAMES: path });

/** Computes where it can, then asks for the GPU: { value, device, warned, error }. */
const probing = `
  const warned = [];
  attn.setLogger((level, message) => { if (level !== 'info') warned.push(level + ': ' + message); });
  const { add, runtime, tensor, Runtime } = attn;
  const told = (e) => ({ name: e.name, code: e.code, hint: e.hint, message: e.message });
  let first, error;
  try { first = { value: await add(tensor([1, 2]), 1).array(), device: runtime().caps?.name ?? null }; }
  catch (e) { first = told(e); }
  try { new Runtime({ route: 'gpu' }); } catch (e) { error = told(e); }
  console.log(JSON.stringify({ ...first, error, warned }));`;

interface Probed {
  value?: number[];
  device?: string | null;
  warned: string[];
  name?: string;
  code?: string;
  message?: string;
  hint?: string;
  error?: { name: string; code: string; hint: string; message: string };
}
const probe = async (env: Record<string, string | undefined>) => {
  const ended = await child(probing, {
    env: { ATTN_VK_ROUTE: undefined, ATTN_VK_DEVICE: undefined, ...env },
  });
  expect(ended.code, ended.stderr).toBe(0);
  return ended.json() as Probed;
};

describe('without a usable device', () => {
  const surroundings: [string, Record<string, string>][] = [
    ['no driver manifest', drivers('/nonexistent/driver.json')],
    ['a manifest that is no JSON', drivers(file('broken.json', '{ "ICD": { "library_path": '))],
    ['an empty manifest', drivers(file('empty.json', ''))],
    ['a manifest of nonsense', drivers(file('nonsense.json', '{ "ICD": [1, 2, { "library_path": 7 }] }'))],
    [
      'a manifest of a driver that is not there',
      drivers(
        file(
          'gone.json',
          '{"file_format_version":"1.0.0","ICD":{"library_path":"./gone.so","api_version":"1.3.0"}}',
        ),
      ),
    ],
    ['no Vulkan loader', { ATTN_VK_LOADER: '/nonexistent/libvulkan.so.1' }],
    ['a loader that is no library', { ATTN_VK_LOADER: file('libvulkan.so.1', 'not a library') }],
  ];
  it.each(surroundings)('for %s, the CPU serves, and the GPU is refused with a reason', async (what, env) => {
    const { value, device, warned, error } = await probe(env);
    expect({ value, device }).toEqual({ value: [2, 3], device: null });
    expect(warned).toEqual([]);
    expect(error).toMatchObject({ name: 'DeviceError', code: 'ATTN_DEVICE' });
    expect(error!.hint).toContain('attn-vk doctor');
    if (what.includes('loader')) expect(error!.message).toContain(env.ATTN_VK_LOADER);
  });

  it('a device by number or name is refused, telling what there is', async () => {
    for (const wanted of ['7', 'no such device']) {
      const { name, code, message, hint } = await probe({ ATTN_VK_DEVICE: wanted });
      expect({ name, code }).toEqual({ name: 'DeviceError', code: 'ATTN_DEVICE' });
      expect(message).toContain(wanted);
      expect(hint).toBeTruthy();
      if (vulkan) expect(message).toMatch(/found 0: \S+/);
      else expect(message).toContain('found none');
    }
  });

  it("ATTN_VK_DEVICE=none is the CPU's", async () => {
    expect(await probe({ ATTN_VK_DEVICE: 'none' })).toMatchObject({ value: [2, 3], device: null });
  });

  it.each([
    ['ATTN_VK_ROUTE', 'fast'],
    ['ATTN_VK_THREADS', 'many'],
    ['ATTN_VK_THREADS', '2.5'],
    ['ATTN_VK_HOST_BUDGET', 'much'],
    ['ATTN_VK_DEVICE_BUDGET', '-1'],
  ])('%s=%s is refused by name', async (name, value) => {
    const told = await probe({ [name]: value });
    expect(told.code).toBe('ATTN_ARGUMENT');
    expect(told.message).toContain(value);
    expect(told.hint).toBeTruthy();
  });
});

describe.skipIf(!vulkan)('with a device', () => {
  const warnings: string[] = [];
  let runtime: Runtime | undefined;
  beforeEach(() => {
    warnings.length = 0;
    setLogger((level, message) => void (level === 'warn' && warnings.push(message)));
  });
  afterEach(() => {
    end();
    setLogger(undefined);
  });
  const open = (options = {}) => {
    runtime = new Runtime({ ...vulkan!.options, ...options });
    useRuntime(runtime);
    return runtime;
  };
  function end(): void {
    useRuntime(undefined);
    runtime?.dispose();
    runtime = undefined;
  }
  /** Warnings travel from the executor thread in a turn of the event loop. */
  const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

  describe('cache files', () => {
    /** A life of a runtime on a cache folder; its warnings. */
    const live = async (cacheFolder: string) => {
      warnings.length = 0;
      const { opsGpu } = open({ cacheFolder }).stats();
      expect(await relu(tensor([-1, 2])).array()).toEqual([0, 2]);
      expect(runtime!.stats().opsGpu).toBeGreaterThan(opsGpu);
      end();
      await settled();
      return [...warnings];
    };
    const cached = (cache: string, kind: string) => {
      const [found, ...more] = readdirSync(cache).filter((name) => name.startsWith(kind));
      expect(more).toEqual([]);
      return join(cache, found!);
    };
    const damages: [string, (path: string) => void][] = [
      ['cut short', (path) => truncateSync(path, Math.floor(readFileSync(path).length / 2))],
      ['cut to a few bytes', (path) => truncateSync(path, 5)],
      ['empty', (path) => truncateSync(path, 0)],
      ['overwritten', (path) => writeFileSync(path, 'this is something else entirely\n'.repeat(50))],
      [
        'changed in one byte',
        (path) => {
          const bytes = readFileSync(path);
          bytes[bytes.length >> 1]! ^= 1;
          writeFileSync(path, bytes);
        },
      ],
      ['of zeros', (path) => writeFileSync(path, Buffer.alloc(4096))],
    ];

    it.each(['pipelines', 'routes'])('%s: damage is told, and the file is made anew', async (kind) => {
      const cache = join(folder, `cache-${kind}`);
      expect(await live(cache)).toEqual([]);
      const good = readFileSync(cached(cache, kind));
      for (const [what, damage] of damages) {
        const path = cached(cache, kind);
        damage(path);
        const told = await live(cache);
        expect(told, what).toHaveLength(1);
        expect(told[0]).toContain(path);
        expect(told[0]).toMatch(/is ignored .*rebuilt/);
        expect(readFileSync(path).length, what).toBeGreaterThan(good.length / 2);
        expect(await live(cache), `after one that was ${what}`).toEqual([]);
      }
    });

    it.each([
      [
        'a folder stands where a file belongs',
        (cache: string) => {
          for (const kind of ['pipelines', 'routes']) {
            const path = cached(cache, kind);
            rmSync(path);
            mkdirSync(path);
          }
        },
      ],
      [
        'the cache folder is a file',
        (cache: string) => {
          rmSync(cache, { recursive: true });
          writeFileSync(cache, '');
        },
      ],
    ])('that cannot be read or written are told, and do without: %s', async (_, damage) => {
      const cache = join(folder, `cache-unwritable-${Math.random()}`);
      expect(await live(cache)).toEqual([]);
      damage(cache);
      const told = (await live(cache)).join('\n');
      expect(told).toMatch(/pipeline cache .* was not saved/);
      expect(told).toMatch(/could not be kept/);
    });
  });

  describe('a device that is lost', () => {
    it.each([1, 2, 3, 5])('at submit %i says so from then on, and a new runtime works', async (nth) => {
      const ended = await child(
        `
        const { relu, tensor, Runtime, useRuntime } = attn;
        const warned = [];
        attn.setLogger((_, message) => warned.push(message));
        const told = (e) => e.name + ' ' + e.code + ' ' + Boolean(e.hint);
        const errors = [];
        const lost = new Runtime({ route: 'gpu' });
        useRuntime(lost);
        for (let i = 0; i < 12; i++) {
          try { await relu(tensor([-1, i])).data(); errors.push(''); } catch (e) { errors.push(told(e)); }
          try { await lost.sync(); } catch (e) { errors.push(told(e)); }
        }
        const probes = lost.routing().probes;
        lost.dispose();
        delete process.env.ATTN_VK_FAULT;
        useRuntime(new Runtime({ route: 'gpu' }));
        const value = await relu(tensor([-1, 5])).array();
        console.log(JSON.stringify({ errors, probes, value, gpu: attn.runtime().stats().opsGpu }));`,
        { env: { ATTN_VK_FAULT: `lost:${nth}` } },
      );
      const { errors, probes, value, gpu } = ended.json() as {
        errors: string[];
        probes: Record<string, string>;
        value: number[];
        gpu: number;
      };
      expect(ended.code, ended.stderr).toBe(0);
      const first = errors.findIndex((e) => e !== '');
      expect(first).toBeGreaterThanOrEqual(0);
      expect(new Set(errors.slice(first))).toEqual(new Set(['DeviceLostError ATTN_DEVICE_LOST true']));
      expect(Object.values(probes).filter(Boolean)).toEqual([]); // no kernel is blamed for it
      expect(value).toEqual([0, 5]);
      expect(gpu).toBeGreaterThan(0);
    });

    it('without any memory leaves the work to the CPU, and blames no kernel', async () => {
      const ended = await child(
        `
        const { relu, tensor, runtime } = attn;
        const warned = [];
        attn.setLogger((_, message) => warned.push(message));
        const value = await relu(tensor([-1, 5])).array();
        console.log(JSON.stringify({ value, probes: runtime().routing().probes, warned }));`,
        { env: { ATTN_VK_FAULT: 'oom', ATTN_VK_ROUTE: 'gpu' } },
      );
      const { value, probes, warned } = ended.json() as { value: number[]; probes: object; warned: string[] };
      expect(value).toEqual([0, 5]);
      expect(probes).toEqual({});
      expect(warned.join('\n')).toContain('relu');
    });
  });

  describe('a kernel that is wrong', () => {
    /** relu with another GPU plan; its CPU kernel and reference stay right. */
    const broken = (name: string, spoil: (plan: GpuPlan) => GpuPlan): Callable<object, [x: Tensor]> =>
      defineOp<[x: Tensor]>()({
        ...(relu.op as OpDefinition<object>),
        name,
        gpu: relu.op.gpu.map((v) => ({ ...v, plan: (problem, caps) => spoil(v.plan(problem, caps)) })),
      });
    const dispatch = (change: (d: GpuPlan['dispatches'][number]) => object) => (plan: GpuPlan) => ({
      ...plan,
      dispatches: plan.dispatches.map((d) => ({ ...d, ...change(d) })),
    });
    const lies: [string, (plan: GpuPlan) => GpuPlan][] = [
      ['a push constant that stops it short', dispatch((d) => ({ push: [d.push[0]! - 1] }))],
      [
        'the constant of another function',
        dispatch((d) => ({ spec: d.spec.map((v, i) => (i === 1 ? 0 : v)) })),
      ],
      ['no launch at all', (plan) => ({ ...plan, dispatches: [] })],
      ['a shader that is not there', dispatch(() => ({ shader: 'no_such_shader' }))],
      ['a workgroup that no device has', dispatch((d) => ({ spec: [2 ** 20, ...d.spec.slice(1)] }))],
    ];

    it.each(lies)('by %s is found out before it computes anything', async (what, spoil) => {
      const name = `relu_with_${what.replaceAll(' ', '_')}`;
      const op = broken(name, spoil);
      const cacheFolder = join(folder, name);
      // Once found out, the verdict is kept: the second runtime knows it from the file.
      for (const found of ['by its self-test', 'from the cache']) {
        open({ cacheFolder });
        if (found === 'from the cache') expect(Object.keys(runtime!.routing().probes)).toHaveLength(1);
        warnings.length = 0;
        const before = runtime!.stats().opsCpu;
        const values = Float32Array.from({ length: 1000 }, (_, i) => i - 500);
        expect(await op(tensor(values)).data()).toEqual(values.map((v) => Math.max(v, 0)));
        await settled();
        expect(warnings.join('\n'), found).toMatch(
          new RegExp(`${name}/\\w+/float32 fails its self-test.*CPU`),
        );
        expect(runtime!.stats().opsCpu).toBeGreaterThan(before);
        const [variant, verdict] = Object.entries(runtime!.routing().probes)[0]!;
        expect(variant).toContain(name);
        expect(verdict).not.toBe('');
        end();
      }
    });

    it('and one that is right is used', async () => {
      open();
      const op = broken('relu_unchanged', (plan) => plan);
      const before = runtime!.stats();
      expect(await op(tensor([-1, 2])).array()).toEqual([0, 2]);
      await settled();
      expect(warnings).toEqual([]);
      expect(runtime!.routing().probes).toEqual({ 'relu_unchanged/contiguous/float32': '' });
      expect(runtime!.stats().opsGpu).toBeGreaterThan(before.opsGpu);
    });
  });
});
