#!/usr/bin/env node
/** `attn-vk` */
import { main } from './main.js';

// Whoever read has enough: `attn-vk sample … | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});
// Nobody reads what is told, `attn-vk train … 2>&1 | head`: what is being done goes on.
process.stderr.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

await main(process.argv.slice(2));
