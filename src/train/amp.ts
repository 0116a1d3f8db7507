/** In which dtype products run. */
import { autocast } from '../autograd/index.js';
import type { TrainConfig } from './config.js';

export const inDtype = <T>(amp: TrainConfig['amp'], fn: () => T): T =>
  amp === 'none' ? fn() : autocast(amp, fn);
