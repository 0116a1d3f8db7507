/**
 * Other programs that run the same work beside us, one request at a time: lines `<case> <dtype> <size> <runs>` in,
 * lines of JSON with the samples out (bench/anchors/onednn.cc says it in full). They keep their operands between
 * requests and sleep while we run.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { packageRoot } from '../../src/runtime/load.js';
import type { Contender } from './timing.js';

interface Answer {
  error?: string;
  us?: number[];
  flops?: number;
  bytes?: number;
  parts?: Record<string, number[]>;
  peak?: number;
  cases?: Record<string, string[]>;
  version?: string;
}

export interface Sampled {
  /** Seconds. */
  samples: number[];
  flops: number;
  bytes: number;
  /** What a peer tells of each sample besides its time, by name. */
  parts: Record<string, number[]>;
  /** Largest resident size of the peer's process so far, in bytes; 0 where it does not tell. */
  peak: number;
}

export class Peer {
  #process: ChildProcess;
  #waiting: { resolve: (a: Answer) => void; reject: (e: Error) => void }[] = [];
  #ended: string | undefined;
  #stderr = '';
  cases: Record<string, string[]> = {};
  version = '';

  private constructor(
    readonly name: string,
    command: string,
    args: readonly string[],
  ) {
    this.#process = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const end = (why: string) => {
      this.#ended ??= why;
      for (const { reject } of this.#waiting.splice(0)) reject(new Error(`${name}: ${this.#ended}`));
    };
    this.#process.on('error', (error) => end(error.message));
    this.#process.on('close', (code, signal) =>
      end(`ended with ${signal ?? code}${this.#stderr ? `: ${this.#stderr.trim().split('\n').at(-1)}` : ''}`),
    );
    this.#process.stdin!.on('error', () => {});
    this.#process.stderr!.on('data', (text) => (this.#stderr = (this.#stderr + text).slice(-2000)));
    createInterface({ input: this.#process.stdout! }).on('line', (line) => {
      const waiting = this.#waiting.shift();
      try {
        waiting?.resolve(JSON.parse(line));
      } catch {
        waiting?.reject(new Error(`${name} answered '${line}'`));
      }
    });
  }

  /** The peer, or why there is none. */
  static async open(name: string, command: string, args: readonly string[] = []): Promise<Peer | string> {
    const peer = new Peer(name, command, args);
    try {
      const { cases = {}, version = '' } = await peer.#ask('list');
      peer.cases = cases;
      peer.version = version;
      return peer;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  async run(work: string, dtype: string, size: string, runs: number): Promise<Sampled> {
    const {
      us,
      flops = 0,
      bytes = 0,
      parts = {},
      peak = 0,
      error,
    } = await this.#ask(`${work} ${dtype} ${size} ${runs}`);
    if (!us) throw new Error(`${this.name}: ${work} ${dtype} ${size}: ${error}`);
    return { samples: us.map((t) => t / 1e6), flops, bytes, parts, peak };
  }

  /** `times` is how often one run does what is being timed. */
  contender(work: string, dtype: string, size: string, times = 1): Contender {
    return {
      sample: async (runs) => (await this.run(work, dtype, size, runs)).samples.map((s) => s / times),
    };
  }

  close(): void {
    this.#process.stdin!.end();
  }

  #ask(line: string): Promise<Answer> {
    if (this.#ended) return Promise.reject(new Error(`${this.name}: ${this.#ended}`));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#process.stdin!.write(`${line}\n`);
    });
  }
}

/** oneDNN called directly and plain C++ loops: built with the addon. */
export async function openAnchor(): Promise<Peer | string> {
  const root = packageRoot();
  const paths = ['build', 'build/Release', 'build/cmake'].map((f) => join(root, f, 'attn_onednn_anchor'));
  const path = paths.find(existsSync);
  return path ? Peer.open('oneDNN', path) : 'attn_onednn_anchor is not built: npm run build:native';
}

/** PyTorch, where $ATTN_VK_TORCH_PYTHON or python3 can import it; the script of bench/anchors says what it runs. */
export function openTorch(script: 'torch_ops' | 'torch_attention' | 'torch_train'): Promise<Peer | string> {
  const path = join(packageRoot(), 'bench/anchors', `${script}.py`);
  return Peer.open('PyTorch', process.env.ATTN_VK_TORCH_PYTHON || 'python3', [path]);
}
