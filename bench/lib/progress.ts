/** A progress bar on a terminal, nothing elsewhere: logs and files get the tables alone. */
import cliProgress from 'cli-progress';

export interface Progress {
  step(what: string): void;
  stop(): void;
}

export function progress(total: number, title: string): Progress {
  if (!process.stderr.isTTY) return { step() {}, stop() {} };
  const bar = new cliProgress.SingleBar({
    format: `${title} [{bar}] {value}/{total}  {eta_formatted} left  {what}`,
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stderr,
  });
  bar.start(total, 0, { what: '' });
  let done = 0;
  return {
    step: (what) => bar.update(done++, { what }),
    stop: () => bar.stop(),
  };
}
