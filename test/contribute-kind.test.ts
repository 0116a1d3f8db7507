/**
 * What an attention kind costs its author: in a copy of the package, one new file and one line of the index make a kind
 * that every test of test/kinds.test.ts walks on every side, and that fails there when it is wrong.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../src/runtime/load.js';

const root = packageRoot();
const copy = mkdtempSync(join(tmpdir(), 'attn-vk-kind-'));
afterAll(() => rmSync(copy, { recursive: true, force: true }));

/** The whole of what the author writes. */
const newFile = `/** The mean of the values so far: no queries, no keys. */
import { Linear } from '../nn/linear.js';
import { add, cast, cumsum, div, fill, maximum, mul, slice } from '../ops/index.js';
import type { Tensor } from '../tensor/tensor.js';
import { Attention, type AttentionInits, type AttentionKind, type Context, defineAttention } from './attention.js';
import { StateCache } from './shared/cache.js';
import type { ConfigInput } from './shared/config.js';

const options = {};

export class MeanAttention extends Attention<typeof options> {
  readonly value: Linear;
  readonly out: Linear;

  constructor(config: ConfigInput<typeof options>, { init, outInit = init, biasInit }: AttentionInits = {}) {
    super(meanKind, config);
    const { dim, heads, headDim, bias } = this.config;
    this.value = new Linear(dim, heads * headDim, { bias, init, biasInit });
    this.out = new Linear(heads * headDim, dim, { bias, init: outInit, biasInit });
  }

  protected attend(x: Tensor, { batch, length, keep, cache }: Context): Tensor {
    const one = keep
      ? cast(keep, { dtype: 'float32' }).reshape([batch, length, 1])
      : fill({ shape: [batch, length, 1], value: 1 });
    let sum = cumsum(mul(cast(this.value.forward(x), { dtype: 'float32' }), one), { axis: 1 });
    let count = cumsum(one, { axis: 1 });
    if (cache instanceof StateCache) {
      if (cache.length > 0) [sum, count] = [add(sum, cache.get('sum')!), add(count, cache.get('count')!)];
      const last = (t: Tensor) => slice(t, { starts: [0, length - 1] });
      cache.advance(length, { sum: last(sum), count: last(count) });
    }
    return div(sum, maximum(count, 1));
  }

  protected makeCache(batch: number): StateCache<'sum' | 'count'> {
    return new StateCache(batch);
  }
}

export const meanKind: AttentionKind<typeof options> = defineAttention({
  kind: 'mean',
  name: 'MeanAttention',
  doc: 'the mean of the values so far',
  source: 'a template',
  options,
  complexity: { time: 'T', memory: 'T', cache: '1' },
  supports: { mask: 'keys', causal: 'always', window: false, alibi: false, rope: false, grouped: false },
  parameters: ({ dim, heads, headDim, bias }) => 2 * heads * headDim * dim + (bias ? heads * headDim + dim : 0),
  create: (config, inits) => new MeanAttention(config, inits),
});
`;

const file = join(copy, 'src/attention/mean.ts');
const files = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)));

/** The tests of kinds, in the copy, for the new kind alone. */
function walk(): { passed: number; failed: string[] } {
  const report = join(copy, 'report.json');
  rmSync(report, { force: true });
  const args = ['run', 'test/kinds.test.ts', '-t', 'mean', '--reporter=json', `--outputFile=${report}`];
  const { stderr } = spawnSync(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), ...args], {
    cwd: copy,
    encoding: 'utf8',
    env: { ...process.env, VITEST: undefined, ATTN_VK_CALIBRATE: '0', ATTN_VK_LOG: 'silent' },
  });
  try {
    const { testResults } = JSON.parse(readFileSync(report, 'utf8')) as {
      testResults: { assertionResults: { status: string; fullName: string; failureMessages: string[] }[] }[];
    };
    const results = testResults.flatMap((f) => f.assertionResults);
    return {
      passed: results.filter((r) => r.status === 'passed').length,
      failed: results
        .filter((r) => r.status === 'failed')
        .map((r) => `${r.fullName}: ${r.failureMessages[0]}`),
    };
  } catch (error) {
    throw new Error(`the walk gave no report: ${stderr}`, { cause: error });
  }
}

describe('adding an attention kind', () => {
  beforeAll(() => {
    for (const name of ['src', 'test/support', 'test/kinds.test.ts', 'package.json', 'tsconfig.json'])
      cpSync(join(root, name), join(copy, name), { recursive: true });
    for (const name of ['node_modules', 'build']) symlinkSync(join(root, name), join(copy, name));
    const config = {
      test: { env: { ATTN_VK_CACHE: join(copy, 'cache') }, pool: 'forks', testTimeout: 60_000 },
    };
    writeFileSync(join(copy, 'vitest.config.js'), `export default ${JSON.stringify(config)};\n`);
    writeFileSync(file, newFile);
    const index = join(copy, 'src/attention/index.ts');
    writeFileSync(index, `${readFileSync(index, 'utf8')}export * from './mean.js';\n`);
  });

  it('takes one new file and one line', { timeout: 120_000 }, () => {
    const [before, after] = [files(join(root, 'src')), files(join(copy, 'src'))];
    expect(after.filter((f) => !before.includes(f))).toEqual(['attention/mean.ts']);
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const { status, stdout } = spawnSync(process.execPath, [tsc, '--noEmit', '-p', copy], {
      encoding: 'utf8',
    });
    expect(stdout.trim()).toBe('');
    expect(status).toBe(0);
    const { passed, failed } = walk();
    expect(failed).toEqual([]);
    expect(passed).toBeGreaterThan(8);
  });

  it('that looks ahead fails the walk', { timeout: 60_000 }, () => {
    expect(newFile).toContain('cumsum(one, { axis: 1 })');
    // It divides by how many tokens there are, not by how many there were.
    writeFileSync(
      file,
      newFile.replace('let count = cumsum(one, { axis: 1 })', 'let count = add(mul(one, 0), 7)'),
    );
    expect(walk().failed.join()).toMatch(/padding does not matter|whole forward/);
  });
});
