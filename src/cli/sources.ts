/** What shells complete arguments and values with, by the name that the help gives them: `<config>`. */
import { dotted, settings } from '../config/walk.js';
import { dataKinds } from '../data/registry.js';
import { runSchema } from '../train/run-config.js';
import { benchmarks } from './bench.js';
import type { Sources } from './complete.js';
import { packagedConfigs } from './locate.js';

/** What --set may name. */
const assignable = () =>
  [...settings(runSchema)].map(({ path, doc }) => ({ value: `${dotted(path)}=`, doc }));

export const sources: Sources = {
  'path=value': () => ({ candidates: assignable() }),
  config: () => ({ candidates: packagedConfigs().map((value) => ({ value })), paths: 'files' }),
  data: () => ({
    candidates: [
      ...dataKinds.map(({ name, doc }) => ({ value: name, doc })),
      ...packagedConfigs().map((value) => ({ value })),
    ],
    paths: 'files',
  }),
  run: () => ({ paths: 'folders' }),
  checkpoint: () => ({ paths: 'folders' }),
  model: () => ({ paths: 'files' }),
  folder: () => ({ paths: 'folders' }),
  file: () => ({ paths: 'files' }),
  benchmark: () => ({ candidates: benchmarks().map(({ name }) => ({ value: name })) }),
};
