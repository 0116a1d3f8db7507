/** Arenas, and what optimisers refuse. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sum } from '../src/index.js';
import { Parameter } from '../src/nn/parameter.js';
import { Arena } from '../src/optim/arena.js';
import { AdamW, clipGradNorm, Muon, SGD } from '../src/optim/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { tensor } from '../src/tensor/tensor.js';
import { expectTyped } from './support/errors.js';
import { given, numbers, parameters, setGrads } from './support/parameters.js';
import { cpu } from './support/sides.js';

/** The error that `fn` throws, one of the family. */
function refused(fn: () => unknown, wanted: { code: string; says?: RegExp }): Error {
  let thrown: unknown;
  try {
    fn();
  } catch (error) {
    thrown = error;
  }
  return expectTyped(thrown, wanted);
}

describe('an arena', () => {
  let runtime: Runtime;
  beforeEach(() => {
    runtime = new Runtime(cpu.options);
    useRuntime(runtime);
  });
  afterEach(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  it('keeps values and gradients, and what lies between the slots 0', () => {
    const params = parameters();
    const before = params.map((p) => p.dataSync());
    params[1]!.grad = given([5], 77);
    const arena = new Arena(params);
    expect(params.map((p) => p.dataSync())).toEqual(before);
    expect([...params[1]!.grad!.dataSync()]).toEqual([...Float32Array.from(numbers(5, 77))]);
    expect(arena.offsets).toEqual([0, 128, 192, 448, 512, 704]);
    sum(params[1]!.mul(params[1]!)).backward();
    const flat = arena.grads.dataSync();
    const want = numbers(5, 77).map((v, i) => Math.fround(v) + 2 * before[1]![i]!);
    for (let i = 0; i < flat.length; i++)
      expect(flat[i], `element ${i}`).toBeCloseTo(i >= 128 && i < 133 ? want[i - 128]! : 0, 5);
    arena.dispose();
    expect(params.map((p) => p.dataSync())).toEqual(before);
    expect(params[1]!.grad).toBeNull();
    for (const p of params) p.dispose();
  });

  it('gathers gradients over several backward passes', () => {
    const params = parameters([[4, 3]]);
    const optimizer = new SGD(params, { lr: 1 });
    for (let i = 0; i < 3; i++) sum(params[0]!).backward();
    expect([...params[0]!.grad!.dataSync()]).toEqual(new Array(12).fill(3));
    optimizer.zeroGrad();
    expect(params[0]!.grad).toBeNull();
    sum(params[0]!).backward();
    expect([...params[0]!.grad!.dataSync()]).toEqual(new Array(12).fill(1));
    optimizer.dispose();
  });

  it('follows a parameter that is frozen and thawed again', () => {
    const p = new Parameter(tensor([1]));
    const optimizer = new SGD([p], { lr: 1 });
    const step = (slope: number) => {
      sum(p.mul(slope).add(new Parameter(tensor([0])))).backward();
      optimizer.step();
      optimizer.zeroGrad();
      return p.itemSync();
    };
    expect(step(5)).toBe(-4);
    p.requiresGrad = false;
    expect(step(7)).toBe(-4);
    p.requiresGrad = true;
    expect(step(2)).toBe(-6);
    optimizer.dispose();
  });

  it('stays on its runtime whatever is current', () => {
    const params = parameters();
    const optimizer = new AdamW(params, { maxNorm: 1 });
    setGrads(params, 0);
    const other = new Runtime(cpu.options);
    useRuntime(other);
    clipGradNorm(params, 1).dispose();
    optimizer.step();
    const state = optimizer.stateDict();
    optimizer.loadStateDict(state);
    const strange = { ...state.tensors, state: tensor([1, 2, 3, 4]) };
    refused(() => optimizer.loadStateDict({ ...state, tensors: strange }), { code: 'ATTN_DEVICE' });
    useRuntime(runtime);
    other.dispose();
    optimizer.dispose();
  });

  it('refuses what cannot be optimised', () => {
    const [p, q] = parameters([[4], [3]]) as [Parameter, Parameter];
    refused(() => new AdamW([]), { code: 'ATTN_ARGUMENT', says: /no parameters/ });
    refused(() => new AdamW([p, p]), { code: 'ATTN_ARGUMENT', says: /twice/ });
    refused(() => new AdamW(p as never), { code: 'ATTN_ARGUMENT' });
    refused(() => clipGradNorm(p as never, 1), { code: 'ATTN_ARGUMENT' });
    refused(() => clipGradNorm([1 as never], 1), { code: 'ATTN_ARGUMENT' });
    refused(() => new AdamW([tensor([1])]), { code: 'ATTN_ARGUMENT', says: /no leaf/ });
    refused(() => new AdamW([p], { lr: -1 }), { code: 'ATTN_ARGUMENT', says: /lr is -1/ });
    for (const betas of [[0.9, 2], [0.9, 1], [0.9], 0.9])
      refused(() => new AdamW([p], { betas: betas as never }), { code: 'ATTN_ARGUMENT', says: /betas is/ });
    refused(() => new AdamW([p], { eps: '1' as never }), { code: 'ATTN_ARGUMENT', says: /eps is 1/ });
    refused(() => new SGD([p], { nesterov: 1 as never }), { code: 'ATTN_ARGUMENT' });
    refused(() => new SGD([p], { weight_decay: 1 } as never), {
      code: 'ATTN_ARGUMENT',
      says: /weight_decay/,
    });
    refused(() => new AdamW([p], { maxNorm: Number.NaN }), { code: 'ATTN_ARGUMENT' });
    refused(() => new AdamW([{ params: [p], momentum: 1 } as never]), {
      code: 'ATTN_ARGUMENT',
      says: /unknown hyper-parameter 'momentum'/,
    });
    refused(() => new Muon([p]), { code: 'ATTN_SHAPE', says: /no matrix/ });
    refused(() => new Muon(parameters([[4, 4]]), { scaling: 'other' as never }), {
      code: 'ATTN_ARGUMENT',
    });
    refused(() => new SGD([p], { nesterov: true }), { code: 'ATTN_ARGUMENT' });
    const first = new AdamW([p, q]);
    refused(() => new SGD([q]), { code: 'ATTN_ARGUMENT', says: /another optimiser/ });
    first.paramGroups[0]!.lr = Number.NaN;
    refused(() => first.step(), { code: 'ATTN_ARGUMENT', says: /lr is NaN/ });
    first.dispose();
    first.dispose();
    refused(() => first.step(), { code: 'ATTN_DISPOSED' });
    refused(() => first.stateDict(), { code: 'ATTN_DISPOSED' });
    const second = new SGD([q], { lr: 1 });
    q.dispose();
    refused(() => second.step(), { code: 'ATTN_DISPOSED' });
    second.dispose();
  });

  it('refuses a state that does not fit, and changes nothing', () => {
    const params = parameters();
    const optimizer = new AdamW(params);
    setGrads(params, 0);
    optimizer.step();
    const state = optimizer.stateDict();
    const before = optimizer.stateDict();
    const { '0.m': m, ...rest } = state.tensors;
    const wrong = { ...rest, '1.v': tensor([1, 2]), extra: tensor(1) };
    const error = refused(() => optimizer.loadStateDict({ ...state, tensors: wrong }), {
      code: 'ATTN_STATE_DICT',
    });
    expect(error).toMatchObject({ missing: ['0.m'], unexpected: ['extra'] });
    expect(error.message).toMatch(/1\.v: float32\[2\] given, float32\[5\] wanted/);
    refused(() => optimizer.loadStateDict({ ...state, groups: [] }), { code: 'ATTN_ARGUMENT' });
    for (const bad of [{ lr: Number.NaN }, { rate: 1 }, { params: [] }, null]) {
      const other = { ...state.tensors, '0.m': params[0]! };
      refused(() => optimizer.loadStateDict({ groups: [bad as never], tensors: other }), {
        code: 'ATTN_ARGUMENT',
      });
    }
    expect(optimizer.paramGroups[0]!.lr).toBe(1e-3);
    refused(() => optimizer.loadStateDict(null as never), { code: 'ATTN_ARGUMENT' });
    expect(m!.dataSync()).toEqual(before.tensors['0.m']!.dataSync());
    const after = optimizer.stateDict();
    for (const [key, t] of Object.entries(after.tensors))
      expect(t.dataSync()).toEqual(before.tensors[key]!.dataSync());
    optimizer.dispose();
  });
});
