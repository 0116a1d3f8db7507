/** What a run is configured by: the schema of the YAML that `attn-vk train` reads. */
import { z } from 'zod';
import { refused } from '../config/schema.js';
import type { AnyDataConfig } from '../data/data.js';
import type { GPTSettings } from '../model/config.js';
import type { Route } from '../runtime/native.js';

const steps = (doc: string) => z.int().min(0).describe(doc);

export const optimizerSchema = z
  .discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('adamw'),
      lr: z.number().positive().default(1e-3).describe('learning rate at its highest'),
      betas: z
        .tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)])
        .default([0.9, 0.95])
        .describe('decay of the means of gradients and of their squares'),
      eps: z.number().min(0).default(1e-8).describe('added to the root of the mean square'),
      weightDecay: z
        .number()
        .min(0)
        .default(0.1)
        .describe('of matrices and tables; gains and biases have none'),
    }),
    z.strictObject({
      kind: z.literal('muon'),
      lr: z.number().positive().default(0.02).describe('learning rate of Muon, for hidden matrices'),
      momentum: z.number().min(0).lt(1).default(0.95).describe('of Muon'),
      weightDecay: z.number().min(0).default(0.01).describe('of hidden matrices'),
      adamw: z
        .strictObject({
          lr: z.number().positive().default(3e-4).describe('learning rate of AdamW, for all else'),
          betas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]).default([0.9, 0.95]),
          weightDecay: z.number().min(0).default(0.01).describe('of tables'),
        })
        .prefault({})
        .describe('of tables, gains and biases'),
    }),
  ])
  .describe('what changes the parameters');

export const scheduleSchema = z
  .strictObject({
    kind: z.enum(['cosine', 'linear', 'constant', 'wsd']).default('cosine').describe('of the learning rate'),
    warmup: steps('steps over which it rises').default(0),
    floor: z.number().min(0).max(1).default(0.1).describe('the factor at the end'),
    decay: steps('wsd: steps over which it falls').default(0),
  })
  .describe('of the learning rate over the steps');

export const trainSchema = z
  .strictObject({
    steps: z.int().min(1).describe('updates of the parameters'),
    accumulate: z.int().min(1).default(1).describe('batches to an update'),
    amp: z.enum(['none', 'bfloat16']).default('none').describe('products on halves; parameters stay float32'),
    clip: z.number().min(0).default(1).describe('the norm to which gradients are clipped; 0 for none'),
    optimizer: optimizerSchema.prefault({ kind: 'adamw' }),
    schedule: scheduleSchema.prefault({}),
    log: z
      .strictObject({
        every: z.int().min(1).default(10).describe('steps between rows of metrics.csv'),
        entropy: steps('steps between rows of entropy_log.csv; 0 for none').default(0),
        residuals: steps('steps between rows of residuals.csv; 0 for none').default(0),
        tensorboard: z.boolean().default(true).describe('event files beside metrics.csv'),
      })
      .prefault({}),
    eval: z
      .strictObject({
        every: steps('steps between evaluations; 0: at the end alone').default(0),
        batches: z
          .int()
          .min(1)
          .default(16)
          .describe('batches of the validation split that one reads, at most'),
        test: z.boolean().default(false).describe('the test split as well, at the end'),
      })
      .prefault({}),
    checkpoint: z
      .strictObject({
        every: steps('steps between checkpoints; 0: at the end alone').default(0),
        keep: z
          .int()
          .min(1)
          .default(2)
          .describe('of the latest; the best by validation loss is kept besides'),
      })
      .prefault({}),
    earlyStop: z
      .strictObject({
        patience: steps('evaluations without a better loss after which training ends; 0: never').default(0),
        delta: z.number().min(0).default(0).describe('how much better counts'),
      })
      .prefault({}),
    init: z
      .string()
      .min(1)
      .optional()
      .describe('a model folder, such as a checkpoint, whose parameters training starts from'),
    nan: z
      .enum(['stop', 'skip'])
      .default('stop')
      .describe('at a loss or gradient that is not finite: end with an error, or go on without the step'),
  })
  .superRefine(possible);

export type TrainConfig = z.output<typeof trainSchema>;

/** A run, every default filled in. */
export interface RunConfig {
  /** Its folder is runs/<name>. */
  name: string;
  /** Of parameters, dropout and data. */
  seed: number;
  /** Number or part of the name of the Vulkan device. */
  device?: string;
  route?: Route;
  data: AnyDataConfig;
  /** vocab and length come from the data. */
  model: Omit<GPTSettings, 'vocab' | 'length'>;
  train: TrainConfig;
}

export type { AnyDataConfig };

/** What a schedule and stops need of the steps and evaluations. */
function possible(
  { steps, schedule, earlyStop, eval: evaluation }: TrainConfig,
  context: z.RefinementCtx,
): void {
  const { kind, warmup, decay } = schedule;
  if (warmup > steps)
    refused(context, ['schedule', 'warmup'], {
      what: `is ${warmup}, and steps ${steps}`,
      hint: 'the warm-up is part of the steps',
    });
  else if (kind === 'wsd' && warmup + decay > steps)
    refused(context, ['schedule', 'decay'], {
      what: `is ${decay}, and steps ${steps}, of which warm-up takes ${warmup}`,
      hint: 'the rate falls after the warm-up, and before the end',
    });
  if (kind === 'wsd' && decay === 0)
    refused(context, ['schedule', 'decay'], {
      what: "is 0, and the schedule 'wsd'",
      hint: 'say over how many steps, the last ones, the rate falls',
    });
  if (kind !== 'wsd' && decay > 0)
    refused(context, ['schedule', 'decay'], {
      what: `is ${decay}, and the schedule '${kind}'`,
      hint: "'wsd' alone has a decay",
    });
  if (earlyStop.patience > 0 && evaluation.every === 0)
    refused(context, ['earlyStop', 'patience'], {
      what: `is ${earlyStop.patience}, and eval.every 0`,
      hint: 'it counts evaluations: say every how many steps there is one',
    });
}
