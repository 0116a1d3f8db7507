/** Every data set: one line a set. */
export * from './text.js';
