/** The table of all attention kinds, from the kinds themselves: `npm run docs` writes it to KINDS.md. */
import { z } from 'zod';
import type { AttentionKind } from '../attention/attention.js';
import { attentionKinds } from '../attention/registry.js';
import { commonOptions, type Options } from '../attention/shared/config.js';
import { markdownTable } from './table.js';

export function kindTable(): string {
  return markdownTable(
    attentionKinds.map(({ kind, name, doc, complexity: { time, memory, cache } }) => ({
      kind: `\`${kind}\``,
      class: `\`${name}\``,
      'what it is': doc,
      'time, bytes, cache': `${time}, ${memory}, ${cache ?? 'none'}`,
    })),
  );
}

/** Options with defaults and meaning. */
function optionTable(options: Options): string {
  const { properties = {}, required = [] } = z.toJSONSchema(z.object(options)) as {
    properties?: Record<string, Record<string, unknown>>;
    required?: string[];
  };
  const rows = Object.entries(properties).map(([option, schema]) => ({
    option: `\`${option}\``,
    values: valuesOf(schema),
    default:
      'default' in schema
        ? `\`${JSON.stringify(schema.default)}\``
        : required.includes(option)
          ? 'required'
          : null,
    meaning: String(schema.description ?? ''),
  }));
  return markdownTable(rows);
}

function valuesOf(schema: Record<string, unknown>): string {
  const {
    type,
    enum: values,
    anyOf,
    minimum,
    exclusiveMinimum,
    maximum,
    exclusiveMaximum,
    items,
    prefixItems,
    const: constant,
  } = schema as {
    type?: string;
    enum?: unknown[];
    anyOf?: Record<string, unknown>[];
    minimum?: number;
    exclusiveMinimum?: number;
    items?: Record<string, unknown>;
    prefixItems?: Record<string, unknown>[];
    maximum?: number;
    exclusiveMaximum?: number;
    const?: unknown;
  };
  if (anyOf) return anyOf.map(valuesOf).join(' or ');
  if (constant !== undefined) return JSON.stringify(constant);
  if (values) return values.map((v) => JSON.stringify(v)).join(', ');
  if (prefixItems) return `[${prefixItems.map(valuesOf).join(', ')}]`;
  if (items) return `list of ${valuesOf(items)}`;
  const least = exclusiveMinimum !== undefined ? ` > ${exclusiveMinimum}` : minimum !== undefined ? ` ≥ ${minimum}` : ''; // biome-ignore format: two bounds
  const most = exclusiveMaximum !== undefined ? ` < ${exclusiveMaximum}` : maximum !== undefined && maximum < 2 ** 53 - 1 ? ` ≤ ${maximum}` : ''; // biome-ignore format: two bounds
  return `${type ?? 'any'}${least}${most}`;
}

function section(kind: AttentionKind): string {
  const { supports, options } = kind;
  const can = [
    supports.mask === 'any' ? 'any mask' : 'padding masks',
    { both: 'causal or not', always: 'causal only', never: 'never causal' }[supports.causal],
    ...(supports.window ? ['windows'] : []),
    ...(supports.alibi ? ['ALiBi'] : []),
    ...(supports.rope ? ['RoPE'] : []),
    ...(supports.grouped ? ['grouped heads'] : []),
  ];
  const own = Object.keys(options).length > 0 ? `\n\n${optionTable(options)}` : '';
  return `## \`${kind.kind}\`: ${kind.name}\n\n${kind.doc[0]!.toUpperCase()}${kind.doc.slice(1)}. Source: ${kind.source}. Takes ${can.join(', ')}.${own}`;
}

/** The whole of KINDS.md. */
export const kindDocument = (): string => `# Attention kinds

Written by \`npm run docs\` from the kinds in \`src/attention\`. Each is a layer \`[batch, length, dim] → [batch, length,
dim]\` and what \`attention: { kind: '…', … }\` of a GPT chooses: \`new FlashAttention({ dim: 128, heads: 4 })\`, or
\`createAttention({ kind: 'flash', dim: 128, heads: 4 })\`. Growth is in the length T: of time, of peak bytes in training,
and of what decoding remembers. What a kind does not take is refused by name.

${kindTable()}

## Options of every kind

${optionTable(commonOptions)}

${attentionKinds.map(section).join('\n\n')}
`;
