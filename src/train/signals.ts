/** SIGINT and SIGTERM end training after the step that runs; a second one ends the process at once. */

/** Exit codes after a signal: 128 and its number. */
const codes = { SIGINT: 130, SIGTERM: 143 } as const;

export type Signal = keyof typeof codes;

export interface Signals {
  /** The first that came. */
  readonly received: Signal | null;
  /** What the process should end with; undefined where no signal came. */
  readonly exitCode: number | undefined;
  /** Signals do again what they did before. */
  end(): void;
}

/** @param stop called at the first signal */
export function onSignals(stop: (signal: Signal) => void): Signals {
  let received: Signal | null = null;
  const handle = (signal: NodeJS.Signals) => {
    if (received) process.exit(codes[signal as Signal]);
    received = signal as Signal;
    stop(received);
  };
  const names = Object.keys(codes) as Signal[];
  for (const name of names) process.on(name, handle);
  return {
    get received() {
      return received;
    },
    get exitCode() {
      return received ? codes[received] : undefined;
    },
    end() {
      for (const name of names) process.off(name, handle);
    },
  };
}
