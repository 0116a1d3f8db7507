/** Log lines: to stderr by default, by ATTN_VK_LOG = silent | error | warn | info | debug (default warn). */

import { ArgumentError } from './errors.js';

export type Level = 'error' | 'warn' | 'info' | 'debug';
export type Logger = (level: Level, message: string) => void;

const order = ['silent', 'error', 'warn', 'info', 'debug'];

const toStderr: Logger = (level, message) => {
  const wanted = order.indexOf(process.env.ATTN_VK_LOG ?? 'warn');
  if (order.indexOf(level) <= (wanted < 0 ? 2 : wanted))
    process.stderr.write(`attn-vk ${level}: ${message}\n`);
};

let logger: Logger = toStderr;

/** Sends log lines elsewhere; undefined restores stderr. */
export function setLogger(next: Logger | undefined): void {
  if (next !== undefined && typeof next !== 'function')
    throw new ArgumentError(`a logger is a function, not ${typeof next}`, { hint: '(level, message) => …' });
  logger = next ?? toStderr;
}

export const log: Logger = (level, message) => logger(level, message);
