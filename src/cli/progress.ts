/** What training shows while it runs: on a terminal one line that changes, elsewhere a line for each row of metrics. */
import { MultiBar, type SingleBar } from 'cli-progress';
import type { Hook, MetricsRow, Outcome, Run } from '../train/hook.js';
import { duration } from './output.js';

/** Continuous integration keeps what is written: there a line that changes is a thousand lines. */
const animated = (stream: NodeJS.WriteStream): boolean => Boolean(stream.isTTY) && !process.env.CI;

/** Writes to `stream` as training goes on. Nothing is read from the device: figures are those of the last row. */
export function progress(stream: NodeJS.WriteStream = process.stderr): Hook {
  return animated(stream) ? bar(stream) : lines(stream);
}

function lines(stream: NodeJS.WriteStream): Hook {
  return {
    logged(row, run) {
      stream.write(`${describe(row, run)}\n`);
    },
  };
}

function bar(stream: NodeJS.WriteStream): Hook {
  const bars = new MultiBar({
    stream,
    format: '{bar} {step} {told}  {left} left',
    barsize: 20,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    hideCursor: true,
    linewrap: false,
    clearOnComplete: true,
    // Signals are the command's.
    gracefulExit: false,
  });
  let line: SingleBar;
  // A process that ends at once leaves the terminal as it was.
  const leave = () => void stream.write('\u001b[?25h\u001b[?7h\n');
  let told = '';
  let pace = Number.NaN;
  const show = (run: Run) => {
    const { steps } = run.config.train;
    const left = duration((steps - run.step) * pace);
    line.update(run.step, { step: `${run.step}/${steps}`, told, left });
  };
  return {
    begin(run) {
      process.once('exit', leave);
      line = bars.create(run.config.train.steps, run.step, { step: String(run.step), told, left: '?' });
    },
    step: show,
    logged(row, run) {
      if (row.split === 'train') {
        told = figures(row);
        pace = row.stepTimeMs / 1e3;
      } else bars.log(`${describe(row, run)}\n`);
      show(run);
    },
    end() {
      // Draws what was told last, then clears the bar.
      bars.update();
      bars.stop();
      process.off('exit', leave);
    },
  };
}

/** 'step 20/200  loss 2.310  lr 3.0e-3  11200 tokens/s  84 MB  2 min 05 s left' */
export function describe(row: MetricsRow, run: Pick<Run, 'config'>): string {
  const { steps } = run.config.train;
  const at = `step ${String(row.step).padStart(String(steps).length)}/${steps}`;
  if (row.split !== 'train') {
    const bytes = row.bpb === null ? '' : `  ${row.bpb.toFixed(3)} bits per byte`;
    return `${at}  ${row.split} loss ${row.loss.toFixed(4)}  perplexity ${row.perplexity.toPrecision(4)}${bytes}`;
  }
  return `${at}  ${figures(row)}  ${duration(((steps - row.step) * row.stepTimeMs) / 1e3)} left`;
}

const figures = ({ loss, lr, tokensPerSec, peakMb }: MetricsRow): string =>
  `loss ${loss.toFixed(4)}  lr ${lr.toExponential(1)}  ${Math.round(tokensPerSec)} tokens/s  ${Math.round(peakMb)} MB`;

/** 'stopped after step 120 of 500: early stop, no better loss in 5 evaluations' */
export function ending(outcome: Outcome, steps: number): string {
  const { reason, detail, step } = outcome;
  if (reason === 'steps') return `done: ${step} steps`;
  return `${reason} after step ${step} of ${steps}${detail ? `: ${detail}` : ''}`;
}
