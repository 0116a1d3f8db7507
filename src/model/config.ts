/** What a GPT is configured by: one schema for code, YAML and the config.json of a checkpoint. */
import { z } from 'zod';
import { type AnyAttentionConfig, attentionKind, attentionKinds } from '../attention/registry.js';
import { resolve, rotaryDimOf } from '../attention/shared/resolve.js';
import { problemsOf, refused } from '../config/schema.js';
import { ArgumentError, AttnError } from '../runtime/errors.js';
import { type BlockForm, blockForms } from './forms.js';
import { judged, objectives } from './objectives.js';

const size = (doc: string) => z.int().min(1).describe(doc);

/** What a model says of its attention layers; dim, heads, biases and dropout are its own. */
export type LayerAttention = Omit<AnyAttentionConfig, 'dim' | 'heads' | 'bias' | 'dropout'> & {
  kind: string;
};

/** One of the registry's kinds with its options. */
const attentionSchema = z.discriminatedUnion(
  'kind',
  attentionKinds.map(({ kind, doc, schema }) =>
    schema
      .omit({ dim: true, heads: true, bias: true, dropout: true })
      .extend({ kind: z.literal(kind) })
      .describe(doc),
  ) as unknown as [z.ZodObject<{ kind: z.ZodLiteral<string> }>],
) as unknown as z.ZodType<LayerAttention, LayerAttention>;

/** Everything but `vocab` and `length`, which data may give. */
export const modelOptions = {
  layers: size('blocks that follow each other'),
  dim: size('channels of the residual stream'),
  heads: size('query heads'),
  attention: attentionSchema
    .prefault({ kind: 'flash' })
    .describe("the kind of attention and its options, as { kind: 'flash', kvHeads: 2 }"),
  block: z
    .enum(Object.keys(blockForms) as BlockForm[])
    .default('sequential')
    .describe(`how attention a and MLP m change the stream r, with x = norm(r): ${formulas()}`),
  attentionScale: z.number().default(1).describe('a factor of what attention gives'),
  shared: z.boolean().default(false).describe('one block, with one norm, is applied `layers` times'),
  mlp: z
    .enum(['gelu', 'gelu_tanh', 'relu', 'silu', 'swiglu', 'none'])
    .default('gelu')
    .describe("activation of the MLP; 'gelu' is exact, 'swiglu' gated, 'none' leaves the MLP out"),
  hidden: size(
    'channels inside the MLP; default 4 dim, for swiglu 8/3 dim rounded up to a multiple of 64',
  ).optional(),
  norm: z
    .enum(['layer', 'rms', 'plain', 'none'])
    .default('layer')
    .describe("'plain' is layer norm without gain and bias, 'none' leaves the stream as it is"),
  normEps: z
    .number()
    .min(0)
    .optional()
    .describe('added to the variance or mean square; default 1e-5, for rms 1e-6'),
  positions: z
    .enum(['learned', 'sinusoidal', 'rope', 'none'])
    .default('learned')
    .describe("'none' takes the weights of a model trained with 'rope' and goes on without it"),
  theta: z.number().positive().default(10000).describe('of the rotation: base of the wave lengths'),
  tied: z.boolean().default(true).describe("the head's weights are the table of tokens"),
  dropout: z.number().min(0).lt(1).default(0).describe('after the embeddings, and of each branch'),
  bias: z.boolean().default(true).describe('products and layer norms have biases'),
  init: z
    .enum(['residual', 'plain'])
    .default('residual')
    .describe("of weights, N(0, 0.02²); 'residual': projections back are smaller by √(2 layers)"),
  objective: z
    .enum(objectives)
    .default('last')
    .describe(
      'what training minimises: the loss of the last layer, of all layers, or a form of early exit; exit2 and exit6 have no lower bound',
    ),
};

/** What a run says of its model: its data give `vocab` and `length`. */
export const modelSchema = z.strictObject(modelOptions).superRefine(possible);

export const gptSchema = z
  .strictObject({
    vocab: size('tokens that there are'),
    length: size('the longest sequence'),
    ...modelOptions,
  })
  .superRefine(possible);

/** What a user writes. */
export type GPTConfig = z.input<typeof gptSchema>;

/** What a model holds: every default filled in. */
export type GPTSettings = z.output<typeof gptSchema>;

/** @throws ArgumentError that names the option, what was got and what is accepted */
export function settingsOf(config: GPTConfig): GPTSettings {
  const [problem] = problemsOf(gptSchema, config);
  if (problem) throw new ArgumentError(problem.message, { op: 'GPT', hint: problem.hint });
  return gptSchema.parse(config);
}

/** What a model's parts say of each other. */
function possible(model: Omit<GPTSettings, 'vocab' | 'length'>, context: z.RefinementCtx): void {
  const { block, mlp, hidden, positions, objective, shared } = model;
  const refuse = (option: keyof typeof modelOptions, what: string, hint: string) =>
    refused(context, [option], { what, hint });
  const { attends, feeds } = blockForms[block];
  if (mlp === 'none' && feeds)
    refuse('mlp', `is 'none', but a block '${block}' is made of an MLP`, 'choose one, or another block');
  if (mlp === 'none' && hidden !== undefined)
    refuse('hidden', `is ${hidden}, but mlp is 'none'`, 'leave it out');
  if (judged(objective) && !shared)
    refuse(
      'objective',
      `is '${objective}', where a shared block judges what it gave, but shared is false`,
      'shared: true; or exit1 to exit4',
    );
  if (!attends) {
    if (positions === 'rope')
      refuse('positions', `is 'rope', but a block '${block}' has no queries`, 'learned, sinusoidal or none');
    return;
  }
  const layer = layerOf(model, context);
  if (!layer || positions !== 'rope') return;
  const { kind, config } = layer;
  const turned = rotaryDimOf(kind, config);
  if (!kind.supports.rope)
    refuse('positions', `is 'rope' and '${kind.kind}' has no rotation`, 'learned, sinusoidal or none');
  else if (turned % 2 !== 0 || turned < 2)
    refuse(
      'positions',
      `is 'rope' and '${kind.kind}' has heads of ${turned} channels`,
      'pairs of channels are turned: headDim is even',
    );
}

/** The layer's kind and whole configuration, where it can be. */
function layerOf(
  { attention, dim, heads, bias, dropout }: Omit<GPTSettings, 'vocab' | 'length'>,
  context: z.RefinementCtx,
) {
  const kind = attentionKind(attention.kind);
  try {
    return { kind, config: resolve(kind, { ...attention, dim, heads, bias, dropout }) };
  } catch (error) {
    if (!(error instanceof AttnError)) throw error;
    // The message begins with the option at fault: the layer's own, or one that the model gives it.
    const [option = ''] = /^\w+/.exec(error.what) ?? [];
    const own = !['dim', 'heads', 'bias', 'dropout'].includes(option);
    const what = error.what.slice(option.length).trimStart();
    refused(context, own ? ['attention', option] : [option], { what, hint: error.hint });
    return undefined;
  }
}

function formulas(): string {
  return Object.entries(blockForms)
    .map(([name, { formula }]) => `${name}: ${formula}`)
    .join('; ');
}
