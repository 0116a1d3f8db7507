/** What the options of a model say together: found out before anything is allocated. */
import { attentionKind } from '../attention/registry.js';
import { resolve, rotaryDimOf } from '../attention/shared/resolve.js';
import { ArgumentError } from '../runtime/errors.js';
import type { GPTSettings } from './config.js';

/** @throws ArgumentError whose message begins with the option at fault, one of the model or of its attention */
export function checkModel(model: Omit<GPTSettings, 'vocab' | 'length'>): void {
  const { attention, dim, heads, bias, dropout, positions } = model;
  const kind = attentionKind(attention.kind);
  const config = resolve(kind, { ...attention, dim, heads, bias, dropout });
  if (positions !== 'rope') return;
  if (!kind.supports.rope)
    throw new ArgumentError(`positions is 'rope' and '${kind.kind}' has no rotation`, {
      op: 'GPT',
      hint: 'learned, sinusoidal or none',
    });
  const rotaryDim = rotaryDimOf(kind, config);
  if (rotaryDim % 2 !== 0 || rotaryDim < 2)
    throw new ArgumentError(`positions is 'rope' and '${kind.kind}' has heads of ${rotaryDim} channels`, {
      op: 'GPT',
      hint: 'pairs of channels are turned: headDim is even',
    });
}
