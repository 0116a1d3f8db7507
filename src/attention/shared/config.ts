/** The options of attention kinds: what all share, and how a plain object becomes a checked configuration. */
import { z } from 'zod';
import { problemsOf } from '../../config/schema.js';
import { ArgumentError } from '../../runtime/errors.js';

const size = (doc: string) => z.int().min(1).describe(doc);

/** What every kind is configured by. */
export const commonOptions = {
  dim: size('channels of the input and of the result'),
  heads: size('query heads'),
  kvHeads: size('heads of keys and values; query heads are a multiple of them').optional(),
  headDim: size('channels of a head; default dim / heads').optional(),
  causal: z.boolean().default(true).describe('no token sees those after it'),
  window: z.int().min(0).default(0).describe('above 0, tokens see only the last so many'),
  alibi: z.boolean().default(false).describe('scores fall off linearly with distance'),
  bias: z.boolean().default(true).describe('projections have biases'),
  dropout: z.number().min(0).lt(1).default(0).describe('of the result'),
  matchParams: z.boolean().default(false).describe("headDim is chosen to match mha's parameter count"),
};

type Common = z.ZodObject<typeof commonOptions>;

/** Options of a kind beside the common ones: names to zod schemas. */
export type Options = Readonly<Record<string, z.ZodType>>;

export type Schema<O extends Options> = z.ZodObject<typeof commonOptions & O, z.core.$strict>;

/** The kind's own part; zod reads an object of no keys as one that takes none. */
type Own<O extends Options, Side extends 'input' | 'output'> = keyof O extends never
  ? unknown
  : Side extends 'input'
    ? z.input<z.ZodObject<O>>
    : z.output<z.ZodObject<O>>;

/** What a user writes. */
export type ConfigInput<O extends Options> = z.input<Common> & Own<O, 'input'> & { kind?: string };

/** What a layer holds: every default filled in. */
export type Config<O extends Options> = CommonConfig & Own<O, 'output'>;
export type CommonConfig = Required<z.output<Common>>;

export const schemaOf = <O extends Options>(kind: string, own: O): Schema<O> =>
  z.strictObject({ kind: z.literal(kind).optional(), ...commonOptions, ...own }) as unknown as Schema<O>;

/** @throws ArgumentError naming the class, the option, what was got and what is accepted */
export function parse<O extends Options>(
  op: string,
  schema: Schema<O>,
  input: unknown,
): z.output<Common> & Own<O, 'output'> {
  const [problem] = problemsOf(schema, input);
  if (problem) throw new ArgumentError(problem.message, { op, hint: problem.hint });
  return schema.parse(input) as z.output<Common> & Own<O, 'output'>;
}
