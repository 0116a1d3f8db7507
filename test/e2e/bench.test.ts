/** The benchmarks as they are run, at sizes that take seconds. Their figures are not judged here: tests share the cores. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Report } from '../../src/report/json.js';
import { packageRoot } from '../../src/runtime/load.js';
import { survey } from '../../src/runtime/runtime.js';

function bench(name: string, args: string[], env: Record<string, string> = {}) {
  const script = join(packageRoot(), 'dist/bench', `${name}.js`);
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  return { status, stdout, stderr };
}

const folder = () => mkdtempSync(join(tmpdir(), 'attn-vk-bench-'));
const small = ['--quick', '--sizes', '64', '--ops', 'add,matmul'];
const device = survey().devices.find((d) => !d.unusable);

describe('bench:vulkan', () => {
  test.runIf(device)('tables, CSV, JSON and chart of a device, with the router and its regret', () => {
    const out = folder();
    const { status, stdout, stderr } = bench('vulkan', [
      ...small,
      '--device',
      `${device!.index}`,
      '--out',
      out,
    ]);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toContain('regret');
    expect(stdout).toContain('bounds met');
    const files = readdirSync(out).sort();
    expect(files.map((f) => f.replace(/.*\./, ''))).toEqual(['csv', 'json', 'png']);
    const { machine, cases } = JSON.parse(readFileSync(join(out, files[1]!), 'utf8')) as Report;
    expect(machine.devices).toEqual([device!.name]);
    for (const name of ['add float32 64x64', 'matmul float32 64x64', 'matmul bfloat16 64x64'])
      expect(
        cases.find((c) => c.name === name && c.metric === 'speed-up with transfers')?.value,
      ).toBeGreaterThan(0);
    expect(
      cases.find((c) => c.name === 'router' && c.metric === 'regret, worst')?.value,
    ).toBeGreaterThanOrEqual(1);
    const csv = readFileSync(join(out, files[0]!), 'utf8').trim().split('\n');
    expect(csv).toHaveLength(4);
    expect(csv[1]).toMatch(/^add,float32,64,\d/);
  });

  test('without a driver: the reason, and the CPU', () => {
    const none = { VK_DRIVER_FILES: '/nonexistent', VK_ICD_FILENAMES: '/nonexistent', ATTN_VK_DEVICE: '' };
    const out = folder();
    const { status, stdout } = bench('vulkan', [...small, '--out', out], none);
    expect(status).toBe(0);
    expect(stdout).toMatch(/No Vulkan device: .+/);
    expect(stdout).toMatch(/^matmul float32 +\d/m);
    expect(readdirSync(out).sort()).toEqual(['cpu-only.csv', 'cpu-only.json']);
  });

  test.each([
    [['--sizes', '0'], 2, /positive integers/],
    [['--ops', 'nonsense'], 2, /no op is called 'nonsense'/],
    [['--nonsense'], 2, /unknown option/],
    [['--device', 'nonsense'], 3, /no such Vulkan device/],
  ])('%j ends with %i', (args, expected, message) => {
    const { status, stderr } = bench('vulkan', args);
    expect(status).toBe(expected);
    expect(stderr).toMatch(message);
  });
});

test('bench:cpu: our ops beside oneDNN, asked and got', () => {
  const json = join(folder(), 'cpu.json');
  const { status, stdout, stderr } = bench('cpu', ['--quick', '--ops', 'mul,chain', '--json', json]);
  expect(stderr).toBe('');
  expect(status).toBe(0);
  expect(stdout).toMatch(/peer oneDNN\n/);
  const { cases } = JSON.parse(readFileSync(json, 'utf8')) as Report;
  expect(cases.find((c) => c.name === 'mul float32 512x512')).toMatchObject({
    metric: 'rate',
    unit: 'GB/s',
    peer: 'the fastest peer',
    ratio: expect.any(Number),
    bound: { atLeast: 0.95 },
  });
  expect(cases.find((c) => c.name.startsWith('chain'))?.value).toBeGreaterThan(0);
});

test('bench:kinds: kinds beside flash in a table, CSV, JSON and chart, and what factorised weights save', () => {
  const out = folder();
  const { status, stdout, stderr } = bench('kinds', [
    ...['--quick', '--lengths', '64', '--kinds', 'flash,linear', '--out', out],
  ]);
  expect(stderr).toBe('');
  expect(status).toBe(0);
  expect(readdirSync(out).sort()).toEqual(['kinds.csv', 'kinds.json', 'kinds.md', 'kinds.png']);
  const read = (name: string) => readFileSync(join(out, name));
  expect(read('kinds.png').subarray(1, 4).toString()).toBe('PNG');
  const [head, ...lines] = read('kinds.csv').toString().trim().split('\n');
  expect(head).toMatch(/^kind,T,parameters,forward_ms,/);
  expect(lines.map((line) => line.split(',').slice(0, 3))).toEqual([
    ['flash', '64', `${4 * 512 * 513}`],
    ['linear', '64', `${4 * 512 * 513}`],
  ]);
  const table = read('kinds.md').toString();
  expect(table).toMatch(/^\| kind +\| +T \| parameters \|/);
  expect(table).toMatch(/^\| linear +\| +64 \|/m);
  // The factorised kinds beside both baselines, with their answers.
  for (const name of ['mha', 'flash', 'tt r=16', 'tpa R=2'])
    expect(table).toMatch(new RegExp(`^\\| ${name} +\\|`, 'm'));
  expect(table.match(/at least 20 % less than (mha|flash): (yes|no)/g)).toHaveLength(8);
  expect(stdout).toContain('at least 20 % less than flash');
  const { cases } = JSON.parse(read('kinds.json').toString()) as Report;
  const of = (name: string, metric: string) => cases.find((c) => c.name === name && c.metric === metric);
  expect(of('linear T=64', 'forward + backward')).toMatchObject({ unit: 'ms', peer: 'flash' });
  for (const metric of ['forward', 'peak bytes', 'decode'])
    expect(of('linear T=64', metric)!.value).toBeGreaterThan(0);
  expect(of('flash T=64', 'cache')!.value).toBe(2 * 4 * 512); // keys and values of a token, in float32
  expect(bench('kinds', ['--kinds', 'nonsense']).status).toBe(2);
});

test('bench:copy: a curve for each seed, in CSV, JSON and chart', () => {
  const out = folder();
  const { status, stdout, stderr } = bench('copy', [
    ...['--steps', '4', '--seeds', '1,2', '--kinds', 'flash', '--out', out],
  ]);
  expect(stderr).toBe('');
  expect(status).toBe(0);
  expect(stdout).toMatch(/seed 1 +seed 2/);
  expect(readdirSync(out).sort()).toEqual(['copy.csv', 'copy.json', 'copy.png']);
  const [head, ...lines] = readFileSync(join(out, 'copy.csv'), 'utf8').trim().split('\n');
  expect(head).toBe('kind,seed,step,loss,accuracy');
  expect(lines.map((line) => line.split(',').slice(0, 3).join())).toEqual(['flash,1,4', 'flash,2,4']);
  for (const line of lines) expect(Math.abs(Number(line.split(',')[3]) - Math.log(64))).toBeLessThan(0.5);
  const { cases } = JSON.parse(readFileSync(join(out, 'copy.json'), 'utf8')) as Report;
  expect(cases.find((c) => c.metric === 'accuracy, worst seed')).toMatchObject({
    name: 'flash',
    bound: { atLeast: 0.99 },
  });
});

test('bench:memory: pools do not grow', () => {
  const json = join(folder(), 'memory.json');
  const { status } = bench('memory', ['--quick', '--blocks', '300', '--json', json]);
  expect(status).toBe(0);
  const { cases } = JSON.parse(readFileSync(json, 'utf8')) as Report;
  const growth = cases.filter((c) => c.metric === 'growth of pooled and live bytes');
  // Blocks and the GPT, on each side.
  expect(growth.map((c) => c.value)).toEqual(device ? [0, 0, 0, 0] : [0, 0]);
});

describe('beside PyTorch, which is not here', () => {
  const none = { ATTN_VK_TORCH_PYTHON: '/nonexistent' };

  test('bench:attention: our times, and bytes that grow with T', () => {
    const json = join(folder(), 'attention.json');
    const { status, stdout, stderr } = bench(
      'attention',
      ['--quick', '--lengths', '64,128', '--json', json],
      none,
    );
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toMatch(/peer PyTorch: not here/);
    const { cases } = JSON.parse(readFileSync(json, 'utf8')) as Report;
    for (const pass of ['forward', 'forward+backward'])
      for (const dtype of ['float32', 'bfloat16']) {
        const of = (length: number, metric: string) =>
          cases.find((c) => c.name === `${pass} ${dtype} T=${length}` && c.metric === metric)!.value;
        expect(of(64, 'rate')).toBeGreaterThan(0);
        expect(of(128, 'peak bytes') / of(64, 'peak bytes')).toBeLessThan(2.2);
      }
  });

  test('bench:train: our steps in parts, and the memory of a process of its own', () => {
    const json = join(folder(), 'train.json');
    const args = ['--quick', '--sizes', '1x16x2x8x2', '--json', json];
    const { status, stdout, stderr } = bench('train', args, none);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toMatch(/PyTorch eager: not here/);
    const { cases } = JSON.parse(readFileSync(json, 'utf8')) as Report;
    const of = (metric: string) =>
      cases.find((c) => c.metric === metric && c.name.startsWith('train'))!.value;
    for (const metric of ['rate', 'step', 'forward', 'backward', 'optimiser'])
      expect(of(metric)).toBeGreaterThan(0);
    expect(of('peak resident')).toBeGreaterThan(20);
  });

  test('sizes that are none end with 2', () => {
    const { status, stderr } = bench('train', ['--sizes', '2x64'], none);
    expect(status).toBe(2);
    expect(stderr).toMatch(/'2x64' is not layers x width x heads x T x batch/);
  });
});
