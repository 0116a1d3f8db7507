import type { GpuVariant } from './contract.js';
import type { NormBackwardAttrs } from './norm.backward.walk.js';
export const normBackwardVariants = (_centred: boolean): GpuVariant<NormBackwardAttrs>[] => [];
