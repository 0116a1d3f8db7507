/** Every data set: one line a set. */
export * from './code.js';
export * from './copy.js';
export * from './enwik8.js';
export * from './markov.js';
export * from './match3.js';
export * from './needle.js';
export * from './text.js';
export * from './wikitext.js';
