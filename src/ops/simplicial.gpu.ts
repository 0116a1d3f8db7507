import type { SimplicialAttrs } from './simplicial.walk.js';
import type { GpuVariant } from './contract.js';
export const simplicialVariants: readonly GpuVariant<SimplicialAttrs>[] = [];
export const simplicialBackwardVariants: readonly GpuVariant<SimplicialAttrs>[] = [];
