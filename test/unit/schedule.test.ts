/** Learning rates over the steps of a run. */
import { describe, expect, it } from 'vitest';
import { type Schedule, schedule } from '../../src/optim/index.js';
import { expectTyped, failureOf } from '../support/errors.js';

const at = (s: Schedule, ...steps: number[]) => steps.map((step) => Number(s(step).toFixed(6)));

describe('a schedule', () => {
  it('constant rises to 1 and stays', () => {
    expect(at(schedule.constant(), 0, 1, 1000)).toEqual([1, 1, 1]);
    expect(at(schedule.constant({ warmup: 4 }), 0, 1, 2, 3, 4, 99)).toEqual([0.25, 0.5, 0.75, 1, 1, 1]);
  });

  it('linear falls along a line to the floor', () => {
    expect(at(schedule.linear({ total: 10 }), 0, 5, 10, 20)).toEqual([1, 0.5, 0, 0]);
    expect(at(schedule.linear({ warmup: 2, total: 12, floor: 0.2 }), 0, 1, 2, 7, 12, 50)).toEqual([
      0.5, 1, 1, 0.6, 0.2, 0.2,
    ]);
  });

  it('cosine falls along half a cosine', () => {
    expect(at(schedule.cosine({ total: 8 }), 0, 2, 4, 6, 8, 9)).toEqual([1, 0.853553, 0.5, 0.146447, 0, 0]);
    expect(at(schedule.cosine({ warmup: 10, total: 110, floor: 0.1 }), 4, 9, 10, 60, 110)).toEqual([
      0.5, 1, 1, 0.55, 0.1,
    ]);
  });

  it('wsd stays at 1 and falls at the end', () => {
    const s = schedule.wsd({ warmup: 2, total: 100, decay: 20 });
    expect(at(s, 0, 1, 50, 80, 90, 100, 200)).toEqual([0.5, 1, 1, 1, 0.5, 0, 0]);
    expect(at(schedule.wsd({ total: 8, decay: 4, shape: 'sqrt', floor: 0.5 }), 4, 5, 8)).toEqual([
      1, 0.75, 0.5,
    ]);
  });

  it('never leaves [0, 1], falls or rises at most once, whatever the lengths', () => {
    for (const warmup of [0, 1, 5])
      for (const total of [5, 6, 40])
        for (const s of [
          schedule.linear({ warmup, total }),
          schedule.cosine({ warmup, total, floor: 0.3 }),
          schedule.wsd({ warmup, total, decay: total - warmup }),
        ]) {
          const values = Array.from({ length: 60 }, (_, step) => s(step));
          expect(Math.min(...values)).toBeGreaterThanOrEqual(0);
          expect(Math.max(...values)).toBeLessThanOrEqual(1);
          const turns = values.slice(2).filter((v, i) => {
            const [before, here] = [values[i + 1]! - values[i]!, v - values[i + 1]!];
            return before < -1e-12 && here > 1e-12;
          });
          expect(turns).toEqual([]);
        }
  });

  it('refuses impossible lengths', async () => {
    for (const make of [
      () => schedule.linear({ total: -1 }),
      () => schedule.cosine({ total: 10, warmup: 0.5 }),
      () => schedule.cosine({ total: 10, floor: 2 }),
      () => schedule.wsd({ total: 10, decay: 11 }),
      () => schedule.wsd({ total: 10, decay: 5, shape: 'other' as never }),
      () => schedule.constant({ warmup: Number.NaN }),
    ])
      expectTyped(await failureOf(make), { code: 'ATTN_ARGUMENT' });
  });
});
