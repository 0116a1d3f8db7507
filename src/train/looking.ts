/** Hooks that look at the model every so many steps, and keep what they see in a CSV file. */
import { join } from 'node:path';
import type { Cell } from '../io/csv.js';
import { keep } from '../tensor/scope.js';
import { type Tensor, tensor } from '../tensor/tensor.js';
import { inDtype } from './amp.js';
import { CsvLog } from './csv-log.js';
import type { Hook, Run } from './hook.js';

type Row = Record<string, Cell>;

export interface Look {
  /** Steps between two looks. */
  every: number;
  /** In the run's folder. */
  file: string;
  /** Behind `step`. */
  columns: readonly string[];
  /**
   * Rows without their step. Whatever it computes it must record before it first waits: the next step changes the model.
   * `ids` [1, length] is the first row of the validation split, the same each time.
   */
  look(run: Run, ids: Tensor): Promise<readonly Row[]>;
}

/** Nothing waits for what is looked at: rows are written when they come, and before a checkpoint at the latest. */
export function looking({ every, file, columns, look }: Look): Hook {
  let csv: CsvLog | undefined;
  let ids: Tensor | undefined;
  let pending = Promise.resolve();
  let failure: { error: unknown } | undefined;
  const settled = async () => {
    await pending;
    if (failure) throw failure.error;
  };
  return {
    async begin(run) {
      csv = new CsvLog(join(run.folder, file), ['step', ...columns], run.step);
      ids = await fixedRow(run);
    },
    step(run) {
      if (failure) throw failure.error;
      const { step, model } = run;
      if (step % every !== 0) return;
      model.eval();
      let rows: Promise<readonly Row[]>;
      try {
        rows = inDtype(run.config.train.amp, () => look(run, ids!));
      } finally {
        model.train();
      }
      pending = Promise.all([rows, pending])
        .then(([seen]) => csv!.append(seen.map((row) => ({ step, ...row }))))
        .catch((error) => {
          failure ??= { error };
        });
    },
    saving: settled,
    async end({ reason }) {
      await (reason === 'failed' ? pending : settled());
      ids?.dispose();
    },
  };
}

async function fixedRow({ loader }: Run): Promise<Tensor> {
  const { ids, length } = await loader.batch('val', 0);
  return keep(tensor(ids.subarray(0, length), [1, length]));
}
