/** Gradients: the tape, backward(), and what is built on them. */
import './tape.js';
import './tensor.js';

export { detectAnomaly } from './anomaly.js';
export { autocast } from './autocast.js';
export type { BackwardOptions } from './backward.js';
export { checkpoint } from './checkpoint.js';
export { type GradcheckOptions, type GradcheckReport, gradcheck } from './gradcheck.js';
export { autocastDType, enableGrad, noGrad } from './modes.js';
export { type Stretch, segmented } from './segments.js';
export { grad, type ValueAndGrad, valueAndGrad } from './transform.js';
