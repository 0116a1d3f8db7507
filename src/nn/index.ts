/** Modules: what networks are made of. */
export * as init from './init.js';
export { Module, parametersByRole } from './module.js';
export { Parameter, type ParameterOptions } from './parameter.js';
