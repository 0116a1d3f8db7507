/**
 * What an op costs its author: in a copy of the package, one new file and one line of the index make an op that type
 * checks, is a method, is walked by conformance on every side, and fails there when it is wrong. (This one is made of
 * kernels that exist; a kernel of its own is one file more on either side, which only a native build can show.)
 */
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../src/runtime/load.js';

const root = packageRoot();
const copy = mkdtempSync(join(tmpdir(), 'attn-vk-op-'));
afterAll(() => rmSync(copy, { recursive: true, force: true }));

/** The whole of what the author writes. */
const newFile = `/** The diagonal of a matrix. */
import { ShapeError } from '../runtime/errors.js';
import { dtypes } from '../tensor/dtype.js';
import { show, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type Problem } from './define.js';
import { cpuCopy, strided, viewOf } from './strided.js';

const view = ({ inputs: [x], outputs: [y] }: Problem<object>) => viewOf(y!.shape, [x!.shape[1]! + 1]);

/** x[i, i]. */
export const diagonal = defineOp<[x: Tensor]>()({
  name: 'diagonal',
  doc: 'x[i, i]',
  inputs: ['x'],
  attrs: {},
  dtypes,
  infer([x]) {
    if (x!.rank !== 2)
      throw new ShapeError(\`takes a matrix but got \${show(x!.shape)}\`, { op: 'diagonal', hint: 'slice first' });
    return [spec([Math.min(...x!.shape)], x!.dtype)];
  },
  reference: ([x], { inputs, outputs }) => [
    Float64Array.from({ length: outputs[0]!.size }, (_, i) => x![i * inputs[0]!.shape[1]! + i]!),
  ],
  cpu: (problem) => cpuCopy(problem, view(problem)),
  gpu: [strided(view)],
  cost: ({ outputs }) => ({ flops: 0, bytes: 2 * outputs[0]!.bytes, family: 'move' }),
  samples: [{ shapes: [[7, 9]] }, { shapes: [[1, 1]] }, { shapes: [[0, 3]] }, { shapes: [[65, 33]] }],
  invalid: [{ shapes: [[3]], code: 'ATTN_SHAPE' }],
});
`;

const files = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();

function compile(): void {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  try {
    execFileSync(process.execPath, [tsc, '-p', join(copy, 'tsconfig.copy.json')], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  } catch (error) {
    throw new Error(`the copy does not compile:\n${(error as { stdout: string }).stdout}`);
  }
}

/** Conformance over the copy's registry, for the op of this name, on the CPU and on a Vulkan device if there is one. */
const walk = `
  import { ops } from './dist/src/ops/registry.js';
  import { add, Runtime, survey, tensor } from './dist/src/index.js';
  import { conform } from './dist/test/support/conformance.js';
  const device = survey().devices.find((d) => !d.unusable);
  const sides = [{ device: 'none' }, ...(device ? [{ device: device.index, route: 'gpu' }] : [])];
  const op = ops.find((o) => o.name === 'diagonal');
  const outcomes = [];
  for (const options of sides) {
    const runtime = new Runtime({ ...options, cacheFolder: '' });
    outcomes.push(await conform(op, runtime, { heavy: true, allVariants: true, halves: 'all' }));
    runtime.dispose();
  }
  const x = tensor([[1, 2], [3, 4]]);
  console.log(JSON.stringify({
    sides: sides.length,
    outcomes: outcomes.map((list) => list.map((o) => o.status + ' ' + o.message)),
    method: await x.diagonal().array(),
    mixed: await add(x.diagonal(), 1).array(),
  }));`;

interface Walked {
  sides: number;
  outcomes: string[][];
  method: number[];
  mixed: number[];
}
const walked = (): Walked =>
  JSON.parse(
    execFileSync(process.execPath, ['--input-type=module', '-e', walk], {
      cwd: copy,
      encoding: 'utf8',
      env: {
        ...process.env,
        ATTN_VK_CALIBRATE: '0',
        ATTN_VK_LOG: 'silent',
        ATTN_VK_CACHE: join(copy, 'cache'),
      },
    }),
  );

describe('adding an op', () => {
  beforeAll(() => {
    cpSync(join(root, 'src'), join(copy, 'src'), { recursive: true });
    cpSync(join(root, 'test/support/conformance.ts'), join(copy, 'test/support/conformance.ts'));
    for (const name of ['package.json', 'tsconfig.json']) cpSync(join(root, name), join(copy, name));
    for (const name of ['node_modules', 'build']) symlinkSync(join(root, name), join(copy, name));
    const config = {
      extends: './tsconfig.json',
      compilerOptions: { noEmit: false, noEmitOnError: true, rootDir: '.', outDir: 'dist' },
      include: ['src', 'test'],
      exclude: ['src/report', 'src/cli'],
    };
    writeFileSync(join(copy, 'tsconfig.copy.json'), JSON.stringify(config));
  });

  it('takes one new file and one line', () => {
    writeFileSync(join(copy, 'src/ops/diagonal.ts'), newFile);
    const index = join(copy, 'src/ops/index.ts');
    writeFileSync(index, `${readFileSync(index, 'utf8')}export * from './diagonal.js';\n`);
    compile();

    const [before, after] = [files(join(root, 'src')), files(join(copy, 'src'))];
    expect(after.filter((f) => !before.includes(f))).toEqual(['ops/diagonal.ts']);
    const changed = before.filter(
      (f) => !readFileSync(join(root, 'src', f)).equals(readFileSync(join(copy, 'src', f))),
    );
    expect(changed).toEqual(['ops/index.ts']);
    const lines = (of: string) => readFileSync(join(of, 'src/ops/index.ts'), 'utf8').split('\n');
    expect(lines(copy).filter((line) => !lines(root).includes(line))).toEqual([
      "export * from './diagonal.js';",
    ]);
    expect(statSync(join(copy, 'src/ops/diagonal.ts')).size).toBeLessThan(2000);

    const { sides, outcomes, method, mixed } = walked();
    expect(outcomes).toHaveLength(sides);
    for (const list of outcomes) {
      expect(list.length).toBeGreaterThan(10); // samples × dtypes
      expect(new Set(list)).toEqual(new Set(['passed ']));
    }
    expect([method, mixed]).toEqual([
      [1, 4],
      [2, 5],
    ]);
  });

  it('that is wrong fails the walk, on every side', () => {
    const built = join(copy, 'dist/src/ops/diagonal.js');
    const text = readFileSync(built, 'utf8');
    expect(text).toContain('shape[1] + 1');
    writeFileSync(built, text.replace('shape[1] + 1', 'shape[1] + 0'));
    for (const list of walked().outcomes)
      expect(list.some((outcome) => /^failed .*elements differ/.test(outcome))).toBe(true);
  });
});
