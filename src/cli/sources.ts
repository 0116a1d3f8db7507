/** What shells complete arguments and values with, by the name that the help gives them: `<config>`. */
import { dataKinds } from '../data/registry.js';
import { runSchema } from '../train/run-config.js';
import { benchmarks } from './bench.js';
import type { Sources } from './complete.js';
import { packagedConfigs } from './locate.js';
import { settings } from './settings.js';

export const sources: Sources = {
  config: () => ({ candidates: packagedConfigs().map((value) => ({ value })), paths: 'files' }),
  data: () => ({
    candidates: [
      ...dataKinds.map(({ name, doc }) => ({ value: name, doc })),
      ...packagedConfigs().map((value) => ({ value })),
    ],
    paths: 'files',
  }),
  'path=value': () => ({ candidates: settings(runSchema) }),
  run: () => ({ paths: 'folders' }),
  checkpoint: () => ({ paths: 'folders' }),
  model: () => ({ paths: 'files' }),
  folder: () => ({ paths: 'folders' }),
  file: () => ({ paths: 'files' }),
  benchmark: () => ({ candidates: benchmarks().map(({ name }) => ({ value: name })) }),
};
