/** residuals.csv: how large the residual stream is in each layer while it learns. */
import { residualStats } from '../model/residuals.js';
import type { Hook } from './hook.js';
import { looking } from './looking.js';

/** Rows of `residualStats`, from one forward pass of one row. */
export const residualLog = (every: number): Hook =>
  looking({
    every,
    file: 'residuals.csv',
    columns: ['layer', 'residual', 'mid', 'next'],
    look: async ({ model }, ids) => (await residualStats(model, ids)).map((row) => ({ ...row })),
  });
