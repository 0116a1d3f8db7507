/** Every op, one line a file. */
export * from './arange.js';
export * from './binary.js';
export * from './cast.js';
export * from './concat.js';
export * from './cumsum.js';
export * from './embedding.js';
export * from './fill.js';
export * from './gather.js';
export * from './matmul.js';
export * from './pad.js';
export * from './permute.js';
export * from './random.js';
export * from './reduce.js';
export * from './slice.js';
export * from './softmax.js';
export * from './unary.js';
export * from './where.js';
