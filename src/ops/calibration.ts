/**
 * What the router measures on first use of a device: a few ops of each family at sizes that span what training
 * meets, timed on both sides. The points become the rates of src/runtime/binding.ts's cost families.
 */
import { log } from '../runtime/log.js';
import type { Runtime } from '../runtime/runtime.js';
import type { DType } from '../tensor/dtype.js';
import { spec } from '../tensor/shape.js';
import { prepareProblem, problemOf } from './record.js';
import { ops } from './registry.js';

/** Seconds that calibration may take. */
const BUDGET = 1.6;

type CalibrationProblem = [op: string, inputs: readonly (readonly number[])[], dtype: DType, attrs?: object];

/** One op of a family at three sizes: one bound by its launch, one by caches, one by memory. */
const square = (op: string, sizes: readonly number[], operands: number, dtype: DType, attrs?: object) =>
  sizes.map((n): CalibrationProblem => [op, Array.from({ length: operands }, () => [n, n]), dtype, attrs]);

/** Causal attention of [batch, length, heads, 64]. */
const attention = (batch: number, length: number, heads: number): CalibrationProblem => {
  const shape = [batch, length, heads, 64];
  return ['attention', [shape, shape, shape], 'float32', { causal: true }];
};

/** In order of weight: what the budget leaves no time for falls back to what it resembles. */
const problems: readonly CalibrationProblem[] = [
  ...square('add', [16, 256, 1024], 2, 'float32'),
  ...square('matmul', [32, 128], 2, 'float32'),
  attention(1, 48, 2),
  ...square('exp', [16, 256, 1024], 1, 'float32'),
  ...square('sum', [32, 256, 1024], 1, 'float32', { axis: -1 }),
  ...square('matmul', [384], 2, 'float32'),
  attention(1, 256, 4),
  ...square('matmul', [128, 384], 2, 'bfloat16'),
  ...square('permute', [32, 256, 1024], 1, 'float32', { axes: [1, 0] }),
  ...square('cumsum', [32, 512], 1, 'float32', { axis: -1 }),
  ['uniform', [], 'float32', { shape: [32, 32] }],
  ['uniform', [], 'float32', { shape: [512, 512] }],
];

/** Measures both sides of this runtime; from then on (and in later processes, by the cache file) it routes by that. */
export async function calibrate(runtime: Runtime): Promise<void> {
  log('info', `measuring this machine against ${runtime.caps?.name} (once, about ${BUDGET} s)`);
  const prepared: number[] = [];
  for (const [name, shapes, dtype, attrs] of problems) {
    const op = ops.find((o) => o.name === name);
    if (!op) continue; // a build with fewer ops calibrates with those it has
    const inputs = shapes.map((shape) => spec(shape, dtype));
    prepared.push(prepareProblem(op, problemOf(op, inputs, { ...op.attrs, ...attrs }), runtime));
  }
  await runtime.calibrate(prepared, BUDGET);
}
