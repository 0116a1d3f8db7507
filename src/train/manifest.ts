/** run.json: what a run was, for whoever finds its folder later. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeAtomic } from '../runtime/files.js';
import { packageVersion } from '../runtime/load.js';
import type { RunConfig } from './config.js';
import type { Outcome } from './hook.js';
import type { Place } from './place.js';

/** From one start of the process to its end. */
export interface Session {
  started: string;
  /** Null while it goes on, and after a process that was killed. */
  ended: string | null;
  /** Updates taken before it, and after it. */
  from: number;
  to: number | null;
  outcome: Outcome['reason'] | null;
  detail: string | null;
  versions: { 'attn-vk': string; node: string };
  place: Place;
  command: string[];
  git: { commit: string; dirty: boolean } | null;
}

export interface ManifestFile {
  name: string;
  seed: number;
  /** Number of parameters. */
  parameters: number;
  config: RunConfig;
  sessions: Session[];
}

export class Manifest {
  readonly #path: string;
  readonly #file: ManifestFile;
  readonly #session: Session;

  /** Begins a session, after those of the run so far: the manifest of another run is gone by now. */
  constructor(folder: string, config: RunConfig, about: { parameters: number; place: Place; step: number }) {
    this.#path = join(folder, 'run.json');
    this.#session = {
      started: new Date().toISOString(),
      ended: null,
      from: about.step,
      to: null,
      outcome: null,
      detail: null,
      versions: { 'attn-vk': packageVersion(), node: process.version },
      place: about.place,
      command: process.argv,
      git: commit(),
    };
    const { name, seed } = config;
    const sessions = [...earlier(this.#path), this.#session];
    this.#file = { name, seed, parameters: about.parameters, config, sessions };
    this.#write();
  }

  end({ reason, detail, step }: Outcome): void {
    Object.assign(this.#session, { ended: new Date().toISOString(), to: step, outcome: reason, detail });
    this.#write();
  }

  #write(): void {
    writeAtomic(this.#path, `${JSON.stringify(this.#file, null, 2)}\n`);
  }
}

/** A manifest that is damaged stops no run. */
function earlier(path: string): Session[] {
  try {
    const { sessions } = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : { sessions: [] };
    return Array.isArray(sessions) ? sessions : [];
  } catch {
    return [];
  }
}

/** Of the working folder; null outside a checkout. */
function commit(): Session['git'] {
  const git = (...args: string[]) =>
    execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return { commit: git('rev-parse', 'HEAD'), dirty: git('status', '--porcelain') !== '' };
  } catch {
    return null;
  }
}
