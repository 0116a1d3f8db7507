/** Runs one case: checks the GPU's result against the CPU's, then times both sides in turns. */
import type { Runtime } from '../../src/runtime/runtime.js';
import type { Case } from './cases.js';
import { difference } from './operands.js';
import type { Result, SideTimes } from './result.js';
import { type Contender, type Effort, interleave } from './timing.js';
import { Work } from './work.js';

/** The one reason for an untimed side that is no fault. */
export const noKernel = 'it has no kernel for this device';

export async function measure(c: Case, runtime: Runtime, effort: Effort): Promise<Result> {
  const work = new Work(runtime, c);
  const result: Result = { c };
  try {
    const hasDevice = runtime.caps !== null;
    const choice = hasDevice ? await work.choices() : undefined;
    const expected = await work.result('cpu');
    if (hasDevice) result.failure = await gpuFailure(work, expected);
    const sides = hasDevice && !result.failure ? (['cpu', 'gpu'] as const) : (['cpu'] as const);
    const contenders: Record<string, Contender> = {};
    for (const side of sides) {
      const batches = await work.batches(side);
      contenders[`${side} resident`] = batches;
      // A batch of one is a single op with a wait.
      if (batches.count > 1) contenders[`${side} single`] = work.single(side);
      contenders[`${side} transfers`] = work.transfers(side);
    }
    const times = await interleave(contenders, effort);
    for (const side of sides)
      result[side] = {
        resident: times[`${side} resident`]!,
        single: times[`${side} single`] ?? times[`${side} resident`]!,
        transfers: times[`${side} transfers`]!,
      };
    if (choice && result.cpu && result.gpu) {
      const both: Record<'cpu' | 'gpu', SideTimes> = { cpu: result.cpu, gpu: result.gpu };
      const regret = (scenario: 'resident' | 'transfers') => ({
        choice: choice[scenario],
        regret:
          both[choice[scenario].side][scenario].median /
          Math.min(both.cpu[scenario].median, both.gpu[scenario].median),
      });
      result.route = { resident: regret('resident'), transfers: regret('transfers') };
    }
    return result;
  } finally {
    work.dispose();
    await runtime.sync();
  }
}

/** Why the GPU's side of a case cannot be timed: it did not run there, failed, or its result is wrong. */
async function gpuFailure(
  work: Work,
  expected: Awaited<ReturnType<Work['result']>>,
): Promise<string | undefined> {
  const before = work.runtime.stats().opsGpu;
  try {
    const got = await work.result('gpu');
    if (work.runtime.stats().opsGpu === before) return noKernel;
    return difference(work.c, expected, got) || undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
