import type { GpuVariant } from './contract.js';
import type { Kind, NormAttrs } from './norm.walk.js';
export const normVariants = (_kind: Kind): GpuVariant<NormAttrs>[] => [];
