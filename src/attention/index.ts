/** Every kind of attention, one line a file. */
export * from './flash.js';
export * from './gla.js';
export * from './holo.js';
export * from './hrr.js';
export * from './hyperbolic.js';
export * from './linear.js';
export * from './mha.js';
export * from './novalue.js';
export * from './performer.js';
export * from './simplicial.js';
export * from './tiled.js';
export * from './tpa.js';
export * from './triple.js';
export * from './tt.js';
