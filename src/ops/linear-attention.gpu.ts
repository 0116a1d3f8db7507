import type { GpuVariant } from './contract.js';
import type { LinearAttentionAttrs } from './linear-attention.common.js';
export const linearAttentionVariants: readonly GpuVariant<LinearAttentionAttrs>[] = [];
export const linearAttentionBackwardVariants: readonly GpuVariant<LinearAttentionAttrs>[] = [];
