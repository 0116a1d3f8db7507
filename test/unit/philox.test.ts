/** Philox4x32-10 gives the known answers that Random123 publishes. */
import { expect, it } from 'vitest';
import { philox } from '../../src/ops/philox.js';

const ones = 0xffffffff;

it.each([
  [
    [0, 0, 0, 0],
    [0, 0],
    [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  ],
  [
    [ones, ones, ones, ones],
    [ones, ones],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
])('counter %j under key %j', (counter, key, words) => {
  expect(philox(counter, key)).toEqual(words);
});
