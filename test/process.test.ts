/** Processes and threads: clean ends in the middle of anything, several runtimes side by side, a free event loop. */
import { describe, expect, it } from 'vitest';
import { child, entryUrl } from './support/child.js';
import { sides } from './support/sides.js';

const routes = sides.map(({ side }) => ({ side, env: { ATTN_VK_ROUTE: side === 'cpu' ? 'cpu' : 'gpu' } }));

/** Work of about a second, far longer than a process takes to end. */
const longWork = `
  const { add, matmul, tensor, uniform, runtime, sync, scope } = attn;
  const begin = (n = 200) => scope(() => {
    let t = uniform({ shape: [384, 384], high: 0.005 });
    for (let i = 0; i < n; i++) t = matmul(t, t);
    return t;
  });`;

describe.each(routes)('a process on $side ends cleanly', ({ env }) => {
  it.each([
    ['with nothing done', `attn.runtime();`, 0],
    ['with work recorded, not sent', `${longWork} add(tensor([1]), 1);`, 0],
    ['with work on its way', `${longWork} begin(); runtime().flush();`, 0],
    ['with tensors alive', `${longWork} globalThis.t = begin(3); await sync();`, 0],
    ['by process.exit with work on its way', `${longWork} begin(); runtime().flush(); process.exit(7);`, 7],
    ['by process.exit with a read on its way', `${longWork} begin().data(); process.exit(3);`, 3],
    [
      'by process.exit within a read',
      `${longWork} add(tensor([1]), 1).data().then(() => { begin().data(); process.exit(4); });`,
      4,
    ],
    [
      'by an uncaught error with work on its way',
      `${longWork} begin().data(); throw new Error('on purpose');`,
      1,
    ],
    [
      'after dispose with a read on its way',
      `${longWork} const r = begin().data(); runtime().dispose();
       await r.then(() => console.log('read'), (e) => console.log(e.code));`,
      0,
    ],
  ])('%s', async (what, script, code) => {
    const ended = await child(script, { env });
    expect({ code: ended.code, signal: ended.signal }, ended.stderr).toEqual({ code, signal: null });
    if (what.includes('uncaught')) expect(ended.stderr).toContain('on purpose');
    else expect(ended.stderr).toBe('');
    if (what.startsWith('after dispose')) expect(ended.stdout.trim()).toMatch(/^(read|ATTN_DISPOSED)$/);
  });

  it('not before a read that nobody awaits has come', async () => {
    const ended = await child(`${longWork} begin(20).data().then((d) => console.log(d.length));`, { env });
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout).toBe(`${384 * 384}\n`);
  });

  it('although an awaited promise is all that is left of a failed read', async () => {
    const ended = await child(
      `const { gather, tensor } = attn;
       const t = gather(tensor([1, 2]), tensor(new Int32Array([5])));
       await t.data().catch((e) => console.log(e.code));`,
      { env },
    );
    expect([ended.code, ended.stdout]).toEqual([0, 'ATTN_INDEX\n']);
  });
});

describe('exits do not wait for abandoned work', () => {
  it('is told by the time they take, against the work itself', async () => {
    // The same process times the work, then abandons four times as much of it.
    const ended = await child(
      `${longWork}
      await begin(20).data();
      const start = performance.now();
      await begin(100).data();
      const work = performance.now() - start;
      for (let i = 0; i < 4; i++) begin(100);
      runtime().flush();
      const dispose = performance.now();
      runtime().dispose();
      console.log(JSON.stringify({ work, dispose: performance.now() - dispose }));`,
      { env: { ATTN_VK_ROUTE: 'cpu' } },
    );
    const { work, dispose } = ended.json() as { work: number; dispose: number };
    expect(dispose).toBeLessThan(2 * work);
  });
});

const worker = (side: string, body: string) => `
  import { workerData, parentPort } from 'node:worker_threads';
  import * as attn from ${JSON.stringify(entryUrl)};
  const { add, matmul, Runtime, scope, sum, tensor, uniform, useRuntime } = attn;
  useRuntime(new Runtime(${side === 'cpu' ? "{ device: 'none' }" : "{ route: 'gpu' }"}));
  ${body}`;

/** Starts workers from a script in a string. */
const startWorkers = `
  import { Worker } from 'node:worker_threads';
  const start = (source, data) =>
    new Worker(new URL('data:text/javascript,' + encodeURIComponent(source)), { workerData: data });
  const ended = (w) => new Promise((resolve, reject) => {
    const said = [];
    w.on('message', (m) => said.push(m));
    w.on('error', reject);
    w.on('exit', (code) => resolve({ code, said }));
  });`;

describe.each(routes)('worker threads on $side', ({ side, env }) => {
  it('four use the addon at the same time, beside the main thread', async () => {
    const source = worker(
      side,
      `let wrong = 0;
       for (let round = 0; round < 8; round++) {
         const got = await scope(() => {
           let t = tensor(new Float32Array(4096).fill(workerData));
           for (let i = 0; i < 10; i++) t = add(t, round);
           return sum(matmul(t.reshape([64, 64]), t.reshape([64, 64]))).item();
         });
         const v = workerData + 10 * round;
         if (Math.abs(got / (64 ** 3 * v * v) - 1) > 1e-5) wrong++;
       }
       parentPort.postMessage(wrong);`,
    );
    const result = await child(
      `${startWorkers}
      const source = ${JSON.stringify(source)};
      const all = [1, 2, 3, 4].map((n) => ended(start(source, n)));
      const mine = await attn.add(attn.tensor([1, 2]), 1).data();
      console.log(JSON.stringify([await Promise.all(all), [...mine]]));`,
      { env },
    );
    expect(result.json()).toEqual([Array.from({ length: 4 }, () => ({ code: 0, said: [0] })), [2, 3]]);
    expect(result.stderr).toBe('');
  });

  it('one is terminated in the middle of work, and the others go on', async () => {
    const source = worker(
      side,
      `const loop = () => {
         let t = uniform({ shape: [256, 256], high: 0.01 });
         for (let i = 0; i < 30; i++) t = matmul(t, t);
         return t.data();
       };
       parentPort.postMessage('started');
       if (workerData === 'ends') { await loop(); parentPort.postMessage('done'); }
       else for (;;) { scope(loop); await new Promise((r) => setTimeout(r, 0)); }`,
    );
    const result = await child(
      `${startWorkers}
      const source = ${JSON.stringify(source)};
      const victims = [start(source, 'runs'), start(source, 'runs')];
      const other = ended(start(source, 'ends'));
      await Promise.all(victims.map((v) => new Promise((r) => v.once('message', r))));
      await new Promise((r) => setTimeout(r, 30));
      const codes = await Promise.all(victims.map((v) => v.terminate()));
      console.log(JSON.stringify([codes, await other, await attn.add(attn.tensor([1]), 1).item()]));`,
      { env },
    );
    expect(result.json()).toEqual([[1, 1], { code: 0, said: ['started', 'done'] }, 2]);
    expect([result.code, result.stderr]).toEqual([0, '']);
  });
});

describe('two runtimes in one process', () => {
  it('work side by side, and one lives on after the other', async () => {
    const options = JSON.stringify(sides.map(({ options }) => options));
    const result = await child(`
      const { add, Runtime, tensor } = attn;
      const [first, second] = [...${options}, ...${options}].map((o) => new Runtime(o));
      const a = tensor([1, 2], undefined, { runtime: first });
      const b = tensor([10, 20], undefined, { runtime: second });
      const [x, y] = [add(a, a), add(b, b)];
      const both = await Promise.all([x.array(), y.array()]);
      first.dispose();
      console.log(JSON.stringify([both, await add(y, y).array(), a.disposed, first.disposed]));`);
    expect(result.json()).toEqual([[[2, 4], [20, 40]], [40, 80], false, true]); // biome-ignore format: pairs
    expect(result.code).toBe(0);
  });
});

describe('importing attn-vk', () => {
  it('loads neither the addon nor a driver, and costs little', async () => {
    const measure = (script: string) =>
      child(
        `const start = performance.now(); ${script}
         const ms = performance.now() - start;
         const { readFileSync } = await import('node:fs');
         const loaded = readFileSync('/proc/self/maps', 'utf8').match(/attn_vk\\.node|libvulkan|libLLVM|libdnnl/g);
         console.log(JSON.stringify({ ms, loaded: [...new Set(loaded)] }));`,
        { bare: true },
      ).then((e) => e.json() as { ms: number; loaded: string[] });
    const empty = await measure('');
    const first = await measure(`await import(${JSON.stringify(entryUrl)});`);
    const second = await measure(`await import(${JSON.stringify(entryUrl)});`);
    expect(first.loaded).toEqual([]);
    // The pattern finds them where they are.
    const used = await measure(`(await import(${JSON.stringify(entryUrl)})).survey();`);
    expect(used.loaded).toContain('attn_vk.node');
    // Against starting a process at all, on this machine now.
    const start = performance.now();
    await measure('');
    const bare = performance.now() - start;
    expect(Math.min(first.ms, second.ms) - empty.ms).toBeLessThan(Math.max(300, 4 * bare));
  });

  it('leaves a process that does not use it free to end', async () => {
    expect(await child('')).toMatchObject({ code: 0, stdout: '', stderr: '' });
  });
});

describe.each(routes)('on $side the event loop', ({ env }) => {
  it('turns while a long block runs', async () => {
    const result = await child(
      `${longWork}
      await begin(3).data();
      let n = 40, work = 0, gap = 0, ticks = 0;
      for (; work < 250; n *= 2) {
        gap = ticks = 0;
        let last = performance.now();
        const timer = setInterval(() => {
          const now = performance.now();
          gap = Math.max(gap, now - last);
          last = now;
          ticks++;
        }, 1);
        const pending = begin(n);
        last = performance.now();
        const start = last;
        await pending.data();
        work = performance.now() - start;
        clearInterval(timer);
      }
      console.log(JSON.stringify({ work, gap, ticks }));`,
      { env },
    );
    const { work, gap, ticks } = result.json() as { work: number; gap: number; ticks: number };
    expect(work).toBeGreaterThan(250);
    // A thread that waited would not tick at all; a busy machine may take some of the ticks.
    expect(ticks).toBeGreaterThan(10);
    expect(gap).toBeLessThan(work / 2);
  });
});

it("the first tensor's spec does not make a pair of operands look like one", async () => {
  const { stdout, stderr } = await child(
    `const { concat, tensor } = attn;
     const [first, second] = [tensor([1, 2]), tensor([3, 4, 5])];
     concat([second]);
     console.log(JSON.stringify(concat([first, second]).arraySync()));`,
    { env: { ATTN_VK_ROUTE: 'cpu' } },
  );
  expect(stdout, stderr).toBe('[1,2,3,4,5]\n');
});
