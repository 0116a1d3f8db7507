/** Quantum states: exact figures, invariants, and what is refused. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  born,
  concurrence,
  density,
  fidelity,
  fubiniStudy,
  mixedFidelity,
  mixture,
  negativity,
  type Operator,
  overlap,
  partialTrace,
  prepare,
  product,
  type State,
  vonNeumann,
} from '../src/geometry/quantum.js';
import { expectTyped, failureOf } from './support/errors.js';

const amplitude = fc.double({ min: -1, max: 1, noNaN: true });
const state = (dim: number) =>
  fc
    .tuple(...[0, 1].map(() => fc.array(amplitude, { minLength: dim, maxLength: dim })))
    .filter(([re, im]) => Math.hypot(...re!, ...im!) > 1e-3)
    .map(([re, im]) => prepare(re!, im));
const runs = { seed: 4, numRuns: 60 };

const bell = prepare([1, 0, 0, 1]);
const phased = prepare([0, 1, 0, 0], [0, 0, 1, 0]); // (|01⟩ + i |10⟩) / √2
const [zero, one] = [prepare([1, 0]), prepare([0, 1])];
const trace = ({ dim, re }: Operator) =>
  Array.from({ length: dim }, (_, i) => re[i * dim + i]!).reduce((a, b) => a + b, 0);
/** The largest difference of two operators' elements. */
const apart = (a: Operator, b: Operator) =>
  Math.max(...a.re.map((v, e) => Math.hypot(v - b.re[e]!, a.im[e]! - b.im[e]!)));

describe('quantum states', () => {
  it.each([
    ['real', bell],
    ['complex', phased],
  ])('a Bell state, %s: entropy ln 2, concurrence 1, negativity 1/2', (_, psi) => {
    const rho = density(psi);
    for (const keep of [[0], [1]])
      expect(vonNeumann(partialTrace(rho, [2, 2], keep))).toBeCloseTo(Math.LN2, 14);
    expect(vonNeumann(rho)).toBeCloseTo(0, 12);
    expect(concurrence(rho)).toBeCloseTo(1, 13);
    expect(negativity(rho, [2, 2])).toBeCloseTo(0.5, 14);
  });

  it('product states have none of them', () => {
    fc.assert(
      fc.property(state(2), state(2), (a, b) => {
        const rho = density(product(a, b));
        expect(vonNeumann(partialTrace(rho, [2, 2], [0]))).toBeLessThan(1e-11);
        expect(concurrence(rho)).toBeLessThan(1e-12);
        expect(negativity(rho, [2, 2])).toBeLessThan(1e-12);
        expect(apart(partialTrace(rho, [2, 2], [1]), density(b))).toBeLessThan(1e-12);
      }),
      runs,
    );
  });

  it('of pure states of two qubits C = 2 |ad - bc| = 2 N, and both halves have one entropy', () => {
    fc.assert(
      fc.property(state(4), (psi) => {
        const rho = density(psi);
        const { re, im } = psi;
        const det = [
          re[0]! * re[3]! - im[0]! * im[3]! - re[1]! * re[2]! + im[1]! * im[2]!,
          re[0]! * im[3]! + im[0]! * re[3]! - re[1]! * im[2]! - im[1]! * re[2]!,
        ];
        const C = 2 * Math.hypot(...det);
        expect(concurrence(rho)).toBeCloseTo(C, 7);
        expect(negativity(rho, [2, 2])).toBeCloseTo(C / 2, 10);
        const p = (1 + Math.sqrt(Math.max(0, 1 - C * C))) / 2;
        const S = p < 1 ? -p * Math.log(p) - (1 - p) * Math.log(1 - p) : 0;
        for (const keep of [[0], [1]]) expect(vonNeumann(partialTrace(rho, [2, 2], keep))).toBeCloseTo(S, 6);
      }),
      runs,
    );
  });

  it("Werner's states lose concurrence at p = 1/3", () => {
    for (const p of [0, 0.2, 1 / 3, 0.5, 0.8, 1]) {
      // p |Ψ⟩⟨Ψ| + (1 - p) 1/4
      const basis = [0, 1, 2, 3].map((k) => prepare([0, 1, 2, 3].map((i) => Number(i === k))));
      const rho = mixture([bell, ...basis], [p, ...basis.map(() => (1 - p) / 4)]);
      expect(concurrence(rho)).toBeCloseTo(Math.max(0, (3 * p - 1) / 2), 12);
      expect(negativity(rho, [2, 2])).toBeCloseTo(Math.max(0, (3 * p - 1) / 4), 12);
      const eigen = [(1 + 3 * p) / 4, ...[0, 0, 0].map(() => (1 - p) / 4)];
      const S = eigen.reduce((s, e) => (e > 0 ? s - e * Math.log(e) : s), 0);
      expect(vonNeumann(rho)).toBeCloseTo(S, 12);
    }
  });

  it("Born's probabilities sum to 1 in any basis, and follow amplitudes", () => {
    expect([...born(prepare([3, 0], [0, 4]))]).toEqual([0.36, 0.64].map((p) => expect.closeTo(p, 15)));
    const turned = [prepare([1, 1]), prepare([1, -1])];
    expect([...born(zero, turned)]).toEqual([0.5, 0.5].map((p) => expect.closeTo(p, 15)));
    fc.assert(
      fc.property(state(6), (psi) => {
        expect(born(psi).reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
        expect(overlap(psi, psi)[0]).toBeCloseTo(1, 12);
      }),
      runs,
    );
  });

  it('fidelity and the Fubini–Study angle belong to rays, and keep small angles', () => {
    expect(fidelity(zero, one)).toBe(0);
    expect(fubiniStudy(zero, one)).toBeCloseTo(Math.PI / 2, 15);
    for (const t of [1e-12, 1e-6, 0.3]) {
      const near = prepare([Math.cos(t), 0], [0, Math.sin(t)]);
      expect(fubiniStudy(zero, near) / t).toBeCloseTo(1, 9);
    }
    fc.assert(
      fc.property(state(3), state(3), fc.double({ min: 0, max: 6.28, noNaN: true }), (a, b, phase) => {
        const turn = (s: State): State => ({
          re: s.re.map((re, k) => re * Math.cos(phase) - s.im[k]! * Math.sin(phase)),
          im: s.im.map((im, k) => im * Math.cos(phase) + s.re[k]! * Math.sin(phase)),
        });
        const d = fubiniStudy(a, b);
        expect(fubiniStudy(a, turn(b))).toBeCloseTo(d, 9);
        expect(Math.cos(d) ** 2).toBeCloseTo(fidelity(a, b), 12);
        expect(mixedFidelity(density(a), density(b))).toBeCloseTo(fidelity(a, b), 6);
      }),
      runs,
    );
    const mixed = mixture([zero, one], [1, 3]);
    expect(mixedFidelity(mixed, mixed)).toBeCloseTo(1, 13);
    expect(mixedFidelity(mixed, density(zero))).toBeCloseTo(0.25, 13);
  });

  it('traces keep the trace, in three parts and in any order', () => {
    fc.assert(
      fc.property(state(12), (psi) => {
        const rho = density(psi);
        for (const keep of [[], [1], [0, 2], [2, 0], [0, 1, 2]])
          expect(trace(partialTrace(rho, [2, 3, 2], keep))).toBeCloseTo(1, 12);
        const pair = partialTrace(rho, [2, 3, 2], [1, 2]);
        expect(apart(partialTrace(pair, [3, 2], [0]), partialTrace(rho, [2, 3, 2], [1]))).toBeLessThan(1e-12);
        // Of a pure state, complements have one entropy.
        expect(vonNeumann(pair)).toBeCloseTo(vonNeumann(partialTrace(rho, [2, 3, 2], [0])), 9);
      }),
      { ...runs, numRuns: 15 },
    );
  });

  it('refuses what is no state', async () => {
    const rho = density(bell);
    for (const [code, call] of [
      ['ATTN_ARGUMENT', () => prepare([0, 0])],
      ['ATTN_ARGUMENT', () => prepare([Number.NaN, 1])],
      ['ATTN_ARGUMENT', () => prepare([1], [Number.POSITIVE_INFINITY])],
      ['ATTN_SHAPE', () => prepare([])],
      ['ATTN_SHAPE', () => prepare([1, 0], [1])],
      ['ATTN_SHAPE', () => overlap(zero, bell)],
      ['ATTN_ARGUMENT', () => mixture([zero], [])],
      ['ATTN_ARGUMENT', () => mixture([zero, one], [2, -1])],
      ['ATTN_ARGUMENT', () => vonNeumann({ ...rho, re: rho.re.map((v) => 2 * v) })],
      ['ATTN_ARGUMENT', () => vonNeumann({ ...rho, im: rho.im.map((_, i) => Number(i === 1)) })],
      ['ATTN_SHAPE', () => vonNeumann({ ...rho, dim: 3 })],
      ['ATTN_SHAPE', () => concurrence(density(zero))],
      ['ATTN_SHAPE', () => negativity(rho, [2, 3])],
      ['ATTN_ARGUMENT', () => partialTrace(rho, [2, 2], [2])],
      ['ATTN_ARGUMENT', () => partialTrace(rho, [2, 2], [0, 0])],
    ] as const)
      expectTyped(await failureOf(call), { code });
  });
});
