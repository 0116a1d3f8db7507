/** From what a user writes to the whole configuration of a layer, by what its kind can represent. */
import { ArgumentError } from '../../runtime/errors.js';
import { type Config, type ConfigInput, type Options, parse, type Schema } from './config.js';

/** What a kind can represent; what it cannot is refused by name. */
export interface Supports {
  /** Which masks: bool [batch, T] of keys only, or anything that stretches to [B, H, T, T] too. */
  mask: 'keys' | 'any';
  causal: 'both' | 'always' | 'never';
  window: boolean;
  alibi: boolean;
  rope: boolean;
  /** Whether scores are products q · k, so that YaRN's and DroPE's temperatures may stretch both. Default true. */
  stretch?: boolean;
  /** Fewer heads of keys than of queries. */
  grouped: boolean;
}

/** What of a kind decides on its configurations. */
interface Definition<O extends Options> {
  readonly kind: string;
  readonly name: string;
  readonly schema: Schema<O>;
  readonly supports: Supports;
  parameters(config: Config<O>): number;
  check?(config: Config<O>): void;
  rotaryDim?(config: Config<O>): number;
}

/** @throws ArgumentError that names the kind, the option and what is accepted */
export function resolve<O extends Options>(kind: Definition<O>, input: ConfigInput<O>): Config<O> {
  const parsed = parse(kind.name, kind.schema, input);
  const { name, supports } = kind;
  const { dim, heads, kvHeads = heads, headDim, causal, window, alibi, matchParams } = parsed;
  const refuse = (what: string, hint: string) => {
    throw new ArgumentError(what, { op: name, hint });
  };
  if (heads % kvHeads !== 0)
    refuse(`kvHeads is ${kvHeads} of ${heads} heads`, 'heads is a multiple of kvHeads');
  if (kvHeads !== heads && !supports.grouped)
    refuse(
      `kvHeads is ${kvHeads} of ${heads} heads`,
      `'${kind.kind}' has as many heads of keys as of queries`,
    );
  if (headDim === undefined && dim % heads !== 0)
    refuse(`dim is ${dim}, heads is ${heads}`, 'dim is a multiple of heads; or give headDim');
  checkCausal(kind, causal);
  if (window > 0 && !supports.window) refuse(`window is ${window}`, `'${kind.kind}' has no windows: 0`);
  if (alibi && !supports.alibi) refuse('alibi is true', `'${kind.kind}' has no scores to add distances to`);
  if (matchParams && headDim !== undefined)
    refuse(`headDim is ${headDim} and matchParams is true`, 'matchParams chooses headDim: give one of them');
  const config = { ...parsed, kvHeads, headDim: headDim ?? dim / heads } as Config<O>;
  // What comes out is complete: it makes the same layer again.
  const whole = matchParams ? { ...config, headDim: matched(kind, config), matchParams: false } : config;
  kind.check?.(whole);
  return whole;
}

/** Channels of a head that a Rotary turns. */
export const rotaryDimOf = <O extends Options>(
  kind: Pick<Definition<O>, 'rotaryDim'>,
  config: Config<O>,
): number => kind.rotaryDim?.(config) ?? config.headDim;

/** matchParams: what counts as as many parameters. */
const NEAR = 0.1;
const MOST_CHANNELS = 256; // of a head, as the attention ops take it

/**
 * The size of a head, dim / heads or even, whose layer has as nearly as many parameters as `mha` of the same dim and
 * bias: 4 (dim² + dim).
 */
function matched<O extends Options>(kind: Definition<O>, config: Config<O>): number {
  const { dim, bias, heads } = config;
  const wanted = 4 * dim * (dim + (bias ? 1 : 0));
  const most = Math.min(MOST_CHANNELS, Math.max(2, 8 * Math.ceil(dim / heads)));
  const even = Array.from({ length: most / 2 }, (_, i) => 2 * (i + 1));
  const sizes = [dim / heads, ...even].filter((headDim) => headDim <= most);
  let best: { headDim: number; size: number; off: number } | undefined;
  for (const headDim of sizes) {
    let size: number;
    try {
      size = kind.parameters({ ...config, headDim });
    } catch {
      continue; // sizes that the kind cannot have, such as modes that do not divide
    }
    const off = Math.abs(size - wanted);
    if (!best || off < best.off) best = { headDim, size, off };
  }
  if (!best || best.off > NEAR * wanted)
    throw new ArgumentError(
      `matchParams is true, but no headDim up to ${most} gives about ${wanted} parameters${best ? `: ${best.headDim} gives ${best.size}` : ''}`,
      { op: kind.name, hint: 'change the options that set the size of the layer, or give headDim' },
    );
  return best.headDim;
}

export function checkCausal(
  { kind, name, supports }: Pick<Definition<Options>, 'kind' | 'name' | 'supports'>,
  causal: boolean,
): void {
  if (supports.causal === 'never' && causal)
    throw new ArgumentError('causal is true', {
      op: name,
      hint: `'${kind}' looks at the whole sequence by its definition: causal: false`,
    });
  if (supports.causal === 'always' && !causal)
    throw new ArgumentError('causal is false', {
      op: name,
      hint: `'${kind}' is causal by its definition`,
    });
}
