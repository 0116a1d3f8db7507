/** The hooks that write the files of a run. */
import type { TrainConfig } from './config.js';
import { entropyLog } from './entropy.js';
import type { Hook } from './hook.js';
import { metricsCsv, tensorBoard } from './metrics.js';
import { residualLog } from './residuals.js';

export const usualHooks = ({ log: { tensorboard, entropy, residuals } }: TrainConfig): Hook[] => [
  metricsCsv(),
  ...(tensorboard ? [tensorBoard()] : []),
  ...(entropy > 0 ? [entropyLog(entropy)] : []),
  ...(residuals > 0 ? [residualLog(residuals)] : []),
];
