#!/usr/bin/env node
/** `attn-vk` */
import { MISSING } from './exit.js';
import { main } from './main.js';
import { say } from './output.js';

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // Whoever read has enough: `attn-vk sample … | head`.
  if (error.code === 'EPIPE') process.exit();
  say(`attn-vk: what is printed cannot be written: ${error.message}`);
  process.exit(MISSING);
});
// Nobody reads what is told, `attn-vk train … 2>&1 | head`, or nobody can: what is being done goes on.
process.stderr.on('error', () => {});

await main(process.argv.slice(2));
