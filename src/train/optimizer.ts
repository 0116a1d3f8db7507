/** The optimiser and the schedule that a configuration names. */
import { type Module, parametersByRole } from '../nn/module.js';
import type { Parameter } from '../nn/parameter.js';
import { AdamW, Muon, type Optimizer, type Schedule, schedule } from '../optim/index.js';
import type { TrainConfig } from './config.js';

/** Matrices and tables decay; gains and biases do not. Groups of nothing are left out. */
const decaying = (decay: Parameter[], vectors: Parameter[]) => [
  ...(decay.length > 0 ? [{ params: decay }] : []),
  ...(vectors.length > 0 ? [{ params: vectors, weightDecay: 0 }] : []),
];

export function makeOptimizer(model: Module, { optimizer, clip: maxNorm }: TrainConfig): Optimizer {
  const { hidden, tables, vectors } = parametersByRole(model);
  if (optimizer.kind === 'adamw') {
    const { kind: _, ...hyper } = optimizer;
    return new AdamW(decaying([...hidden, ...tables], vectors), { ...hyper, maxNorm });
  }
  const { kind: _, adamw, ...hyper } = optimizer;
  return new Muon(hidden, { ...hyper, maxNorm, adamw: { ...adamw, params: decaying(tables, vectors) } });
}

/** The factor of the learning rate by step; that its parts fit into the run is for `trainSchema` to say. */
export function makeSchedule({ schedule: config, steps: total }: TrainConfig): Schedule {
  const { kind, warmup, floor, decay } = config;
  if (kind === 'constant') return schedule.constant({ warmup });
  if (kind === 'wsd') return schedule.wsd({ warmup, total, decay, floor });
  return schedule[kind]({ warmup, total, floor });
}
