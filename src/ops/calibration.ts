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

/** [op, shapes of the inputs, dtype, attributes] */
const problems: readonly [string, readonly (readonly number[])[], DType, object?][] = [
  [
    'add',
    [
      [16, 16],
      [16, 16],
    ],
    'float32',
  ],
  [
    'add',
    [
      [256, 256],
      [256, 256],
    ],
    'float32',
  ],
  [
    'add',
    [
      [1024, 1024],
      [1024, 1024],
    ],
    'float32',
  ],
  ['exp', [[64, 64]], 'float32'],
  ['exp', [[1024, 1024]], 'float32'],
  ['sum', [[64, 64]], 'float32', { axis: -1 }],
  ['sum', [[1024, 1024]], 'float32', { axis: -1 }],
  ['permute', [[64, 64]], 'float32', { axes: [1, 0] }],
  ['permute', [[1024, 1024]], 'float32', { axes: [1, 0] }],
  ['cumsum', [[512, 512]], 'float32', { axis: -1 }],
  ['uniform', [], 'float32', { shape: [512, 512] }],
  [
    'matmul',
    [
      [64, 64],
      [64, 64],
    ],
    'float32',
  ],
  [
    'matmul',
    [
      [256, 256],
      [256, 256],
    ],
    'float32',
  ],
  [
    'matmul',
    [
      [512, 512],
      [512, 512],
    ],
    'float32',
  ],
  [
    'matmul',
    [
      [256, 256],
      [256, 256],
    ],
    'bfloat16',
  ],
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
