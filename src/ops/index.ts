/** Every op, one line a file. */
export * from './arange.js';
export * from './binary.js';
export * from './cast.js';
export * from './fill.js';
export * from './matmul.js';
export * from './random.js';
export * from './unary.js';
export * from './where.js';
