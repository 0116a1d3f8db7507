/** attention on Vulkan: which of its kernels (shaders/attention_*.comp) runs a problem, and with what tiles. */
import type { AttentionAttrs } from './attention.walk.js';
import type { GpuVariant } from './contract.js';

/** Of attention and packed_attention. */
export const attentionVariants: readonly GpuVariant<AttentionAttrs>[] = [];

/** Of their gradients. */
export const attentionBackwardVariants: readonly GpuVariant<AttentionAttrs>[] = [];
