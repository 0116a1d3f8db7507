/** The ops by their JavaScript names: what tests, benchmarks, docs and backward formulas iterate over. */
import { type Callable, isOp } from './define.js';
import * as all from './index.js';

export const ops: Readonly<Record<string, Callable<object, unknown[]>>> = Object.fromEntries(
  Object.entries(all).flatMap(([name, value]) => (isOp(value) ? [[name, value]] : [])),
);
