import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** The double build from a clean copy takes minutes: `npm run test:builds` runs it, and nothing else. */
const builds = process.env.ATTN_VK_TEST_BUILDS === '1';

/** Calibration and pipelines of the tests: fresh for each run, and not the user's. */
const cache = fileURLToPath(new URL('build/test-cache', import.meta.url));
rmSync(cache, { recursive: true, force: true });

/** Files that take minutes, longest first: begun last, one of them would run by itself at the end. */
const long = [
  'conformance.vulkan-attention',
  'conformance.vulkan',
  'kinds',
  'conformance',
  'backward',
  'e2e/bench',
  'visibility',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = long.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`));
      return at < 0 ? long.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    include: builds ? ['test/builds/**/*.test.ts'] : ['test/**/*.test.ts'],
    exclude: builds ? [] : ['test/builds/**'],
    env: { ATTN_VK_CACHE: cache },
    setupFiles: ['test/support/leaks.ts'],
    // A native addon with threads of its own: processes, not worker threads, and few of them.
    pool: 'forks',
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    testTimeout: builds ? 1_200_000 : 60_000,
    hookTimeout: 60_000,
  },
});
