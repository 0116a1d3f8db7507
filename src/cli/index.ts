#!/usr/bin/env node
/** `attn-vk` */
import { main } from './main.js';

// Whoever read has enough: `attn-vk sample … | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

await main(process.argv.slice(2));
