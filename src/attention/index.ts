/** Every kind of attention, one line a file. */
export * from './flash.js';
export * from './mha.js';
