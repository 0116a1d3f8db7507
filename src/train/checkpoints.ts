/** The checkpoints of a run: which there are, which to go on from, which to keep. */
import { existsSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointError } from '../runtime/errors.js';
import { storageError, writeAtomic } from '../runtime/files.js';
import { log } from '../runtime/log.js';
import {
  type CheckpointState,
  partialNamed,
  readCheckpoint,
  type Saved,
  writeCheckpoint,
} from './checkpoint.js';

/** In the folder of a run. */
export const CHECKPOINTS = 'checkpoints';

const nameOf = (step: number): string => `step-${String(step).padStart(8, '0')}`;

export interface Found {
  folder: string;
  state: CheckpointState;
}

export class Checkpoints {
  readonly folder: string;

  constructor(run: string) {
    this.folder = join(run, CHECKPOINTS);
  }

  /** Steps of those that are there, the latest first. */
  steps(): number[] {
    return this.#names()
      .flatMap((name) => /^step-(\d{8,})$/.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => b - a);
  }

  #names(): string[] {
    if (!existsSync(this.folder)) return [];
    try {
      return readdirSync(this.folder);
    } catch (error) {
      throw storageError(this.folder, error, 'read');
    }
  }

  /**
   * The one to go on from: the latest that is whole (true), or one by name ('best', 'step-00000500') or path.
   * @throws CheckpointError where there is none, or the one that was named is damaged
   */
  async find(which: true | string): Promise<Found> {
    if (which !== true) {
      const folder = this.#named(which);
      return { folder, state: await readCheckpoint(folder) };
    }
    const refused: string[] = [];
    for (const step of this.steps()) {
      const folder = join(this.folder, nameOf(step));
      try {
        const state = await readCheckpoint(folder);
        if (refused.length > 0)
          log('warn', `going on from ${folder}, for later checkpoints are damaged: ${refused.join('; ')}`);
        return { folder, state };
      } catch (error) {
        if (!(error instanceof CheckpointError)) throw error;
        refused.push(error.what);
      }
    }
    throw new CheckpointError(
      refused.length > 0
        ? `no checkpoint in ${this.folder} is whole: ${refused.join('; ')}`
        : `there is no checkpoint in ${this.folder}`,
      { hint: 'begin the run anew, with the option to overwrite it or under another name' },
    );
  }

  #named(which: string): string {
    const pointer = join(this.folder, which);
    if (which === 'best' || which === 'latest') {
      if (!existsSync(pointer))
        throw new CheckpointError(`there is no '${which}' checkpoint in ${this.folder}`, {
          hint: `there are ${this.steps().map(nameOf).join(', ') || 'none'}`,
        });
      return join(this.folder, readFileSync(pointer, 'utf8').trim());
    }
    for (const path of [pointer, which]) if (existsSync(join(path, 'state.json'))) return path;
    throw new CheckpointError(`there is no checkpoint '${which}'`, {
      hint: `in ${this.folder} there are ${this.steps().map(nameOf).join(', ') || 'none'}`,
    });
  }

  /**
   * Writes one; then it is the latest. Of those before it the last `keep` stay, this one among them, and the best.
   * @returns its folder
   * @throws StorageError; then those that were there still are
   */
  async save(saved: Saved, keep: number): Promise<string> {
    const { step, best } = saved.state;
    const name = nameOf(step);
    const folder = join(this.folder, name);
    await writeCheckpoint(folder, saved);
    writeAtomic(join(this.folder, 'latest'), `${name}\n`);
    if (best) this.#point(best.step);
    try {
      // Those of later steps are of a run that went on otherwise.
      const before = this.steps().filter((s) => s <= step);
      const kept = new Set([...before.slice(0, keep), best?.step]);
      for (const s of this.steps())
        if (!kept.has(s)) rmSync(join(this.folder, nameOf(s)), { recursive: true, force: true });
    } catch (error) {
      throw storageError(this.folder, error);
    }
    return folder;
  }

  /** What `best` names. */
  #point(step: number): void {
    const path = join(this.folder, 'best');
    const name = nameOf(step);
    if (!existsSync(join(this.folder, name))) return;
    if (!existsSync(path) || readFileSync(path, 'utf8').trim() !== name) writeAtomic(path, `${name}\n`);
  }

  /**
   * Ends what a process that was killed while it wrote has left. One that was to be replaced, and whose place was still
   * empty, is back in it.
   */
  tidy(): void {
    for (const name of this.#names()) {
      const partial = partialNamed(name);
      if (!partial) continue;
      const [path, place] = [join(this.folder, name), join(this.folder, partial.checkpoint)];
      if (partial.replaced && !existsSync(place)) renameSync(path, place);
      else rmSync(path, { recursive: true, force: true });
    }
  }
}
