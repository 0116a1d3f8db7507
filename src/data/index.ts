/** Every data set: one line a set. */
export * from './code.js';
export * from './enwik8.js';
export * from './text.js';
export * from './wikitext.js';
