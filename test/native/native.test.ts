/** The unit tests of the native floors (native/test/*_test.cc): one process runs all, each case is a test here. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageRoot } from '../../src/runtime/load.js';

interface Case {
  name: string;
  failure: string;
}

function runAll(): { cases: Case[]; ending: string } {
  const folder = mkdtempSync(join(tmpdir(), 'attn-vk-native-'));
  const report = join(folder, 'report.xml');
  const program = join(packageRoot(), 'build/attn_native_test');
  const run = spawnSync(program, ['--reporters=junit', `--out=${report}`, '--no-path-filenames'], {
    encoding: 'utf8',
    env: { ...process.env, ATTN_VK_CACHE: folder },
    maxBuffer: 2 ** 26,
  });
  const ending = run.error?.message ?? run.signal ?? `status ${run.status}`;
  let xml = '';
  try {
    xml = readFileSync(report, 'utf8');
  } catch {
    // No report: the program did not start, or died; `ending` says how.
  }
  rmSync(folder, { recursive: true, force: true });
  // doctest leaves '>' as it is inside attributes.
  const found = xml.matchAll(
    /<testcase classname="[^"]*" name="([^"]*)"(?: \w+="[^"]*")*(?:\/>|>([\s\S]*?)<\/testcase>)/g,
  );
  const cases = [...found].map(([, name, body]) => ({
    name: plain(name!),
    failure: plain(body ?? '').trim(),
  }));
  return {
    cases,
    ending: cases.length === 0 || ending !== 'status 0' ? `${ending}\n${run.stdout}${run.stderr}` : '',
  };
}

const entities: Record<string, string> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };
const plain = (xml: string): string =>
  xml.replace(/&(lt|gt|quot|apos|amp);/g, (_, name: string) => entities[name]!);

const { cases, ending } = runAll();

describe('native', () => {
  test('the program ran to its end, with every case passing', () => expect(ending).toBe(''));
  test.each(cases.map((c) => [c.name, c.failure]))('%s', (_, failure) => expect(failure).toBe(''));
});
