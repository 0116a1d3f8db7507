/** Modules: what networks are made of. */
export { Dropout } from './dropout.js';
export { Embedding, sinusoids } from './embedding.js';
export * as init from './init.js';
export { Linear, type LinearCall, type LinearOptions, MLP, type MLPOptions } from './linear.js';
export { Module, parametersByRole } from './module.js';
export { LayerNorm, type NormCall, PlainNorm, RMSNorm } from './norm.js';
export { Parameter, type ParameterOptions } from './parameter.js';
