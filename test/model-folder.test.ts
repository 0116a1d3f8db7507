import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadModel, saveModel } from '../src/io/index.js';
import { GPT } from '../src/model/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { sides } from './support/sides.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'attn-vk-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe.each(sides)('on $side', ({ options }) => {
  it('loads the bits that were saved', async () => {
    const runtime = new Runtime(options);
    useRuntime(runtime);
    const model = new GPT({
      vocab: 20,
      layers: 2,
      dim: 16,
      heads: 2,
      length: 8,
      attention: { kind: 'holo' },
    });
    await saveModel(folder, model);
    const again = await loadModel(folder);
    expect(again.model.config).toEqual(model.config);
    const other = new Map(again.model.namedParameters());
    for (const [name, p] of model.namedParameters())
      expect(Buffer.from((await other.get(name)!.data()).buffer), name).toEqual(
        Buffer.from((await p.data()).buffer),
      );
    model.dispose();
    again.model.dispose();
    expect(runtime.tensors).toBe(0);
    useRuntime(undefined);
    runtime.dispose();
  });
});
