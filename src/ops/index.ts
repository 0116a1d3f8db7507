export * from './concat.js';
export * from './cumsum.js';
export * from './gather.js';
export * from './pad.js';
export * from './permute.js';
export * from './reduce.js';
export * from './slice.js';
export * from './softmax.js';
