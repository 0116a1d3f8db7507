/** Ops on shapes that nobody thought of, against their references; what must be equal bit by bit. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  add,
  arange,
  argmax,
  cast,
  concat,
  cumsum,
  exp,
  gather,
  gelu,
  matmul,
  max,
  mean,
  mul,
  normal,
  pad,
  permute,
  slice,
  softmax,
  sub,
  sum,
  uniform,
  where,
} from '../src/index.js';
import type { Op, Problem } from '../src/ops/contract.js';
import { problemOf, toleranceOf } from '../src/ops/record.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { decode, encode } from '../src/tensor/dtype.js';
import { scope } from '../src/tensor/scope.js';
import { type Shape, sizeOf, spec } from '../src/tensor/shape.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { compare, values } from './support/conformance.js';
import { sides } from './support/sides.js';

describe.each(sides)('on $side', ({ side, options }) => {
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime(options);
    useRuntime(runtime);
  });
  afterAll(() => {
    expect(runtime.stats().buffers).toBe(0);
    useRuntime(undefined);
    runtime.dispose();
  });

  // Each new shape is another plan; on a GPU its variants are tested once.
  const runs = { seed: 5, numRuns: side === 'cpu' ? 60 : 25 };
  const size = fc.integer({ min: 0, max: 9 });
  const shapeOf = (min: number, most: number, least = 0) =>
    fc.array(least ? fc.integer({ min: least, max: 9 }) : size, { minLength: min, maxLength: most });

  /** Runs `op` on values made up for these shapes; empty where it gives what its reference gives. */
  const differs = (
    callable: { op: unknown },
    shapes: readonly Shape[],
    attrs: object = {},
    call = (operands: Tensor[]) => (callable as unknown as (...a: unknown[]) => Tensor)(...operands, attrs),
  ): Promise<string> =>
    scope(async () => {
      const op = callable.op as unknown as Op;
      const specs = shapes.map((s) => spec(s, 'float32'));
      const raw = specs.map((s, i) => encode('float32', values(s, [-2, 2], i + 1)));
      const problem: Problem<object> = {
        ...problemOf(op, specs, { ...op.attrs, ...attrs }),
        attrs: { ...op.attrs, ...attrs },
      };
      const [expected] = op.reference(
        raw.map((r) => decode('float32', r)),
        problem,
      );
      const result = call(raw.map((r, i) => tensor(r, shapes[i])));
      expect(result.shape).toEqual(problem.outputs[0]!.shape);
      return compare(result.dtype, await result.data(), expected!, toleranceOf(op, problem));
    });
  const agrees = async (...args: Parameters<typeof differs>) => expect(await differs(...args)).toBe('');

  it('add broadcasts any two shapes that fit', () =>
    fc.assert(
      fc.asyncProperty(
        shapeOf(0, 5),
        fc.array(fc.nat(3), { minLength: 5, maxLength: 5 }),
        fc.nat(5),
        async (full, how, drop) => {
          const a = full.map((d, i) => (how[i] === 1 ? 1 : d));
          const b = full.map((d, i) => (how[i] === 2 ? 1 : d)).slice(Math.min(drop, full.length));
          await agrees(add, [a, b]);
          await agrees(sub, [b, a]);
        },
      ),
      runs,
    ));

  it('sum, mean, max and argmax reduce any axes', () =>
    fc.assert(
      fc.asyncProperty(
        shapeOf(1, 5, 1),
        fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }),
        fc.boolean(),
        async (shape, pick, keepDims) => {
          const axis = shape.flatMap((_, i) => (pick[i] ? [i - (keepDims ? shape.length : 0)] : []));
          for (const op of [sum, mean, max]) await agrees(op, [shape], { axis, keepDims });
          await agrees(argmax, [shape], { axis: axis[0] ?? null, keepDims });
        },
      ),
      runs,
    ));

  it('softmax and cumsum run along any axis', () =>
    fc.assert(
      fc.asyncProperty(shapeOf(1, 4), fc.nat(3), async (shape, at) => {
        const axis = at % shape.length;
        await agrees(softmax, [shape], { axis });
        await agrees(cumsum, [shape], { axis: axis - shape.length });
      }),
      runs,
    ));

  it('permute reorders, and its inverse gives back the same bits', () =>
    fc.assert(
      fc.asyncProperty(
        shapeOf(0, 5).chain((s) =>
          fc.tuple(fc.constant(s), fc.shuffledSubarray([...s.keys()], { minLength: s.length })),
        ),
        async ([shape, axes]) => {
          await agrees(permute, [shape], { axes });
          await scope(async () => {
            const x = uniform({ shape, seed: 1 });
            const back = permute(permute(x, { axes }), { axes: axes.map((_, i) => axes.indexOf(i)) });
            expect(await back.data()).toEqual(await x.data());
          });
        },
      ),
      runs,
    ));

  it('slices undo pads, and concat undoes slices', () =>
    fc.assert(
      fc.asyncProperty(
        shapeOf(1, 4),
        fc.array(fc.nat(4), { minLength: 4, maxLength: 4 }),
        fc.array(fc.nat(4), { minLength: 4, maxLength: 4 }),
        fc.nat(3),
        async (shape, front, back, at) => {
          const before = shape.map((_, i) => front[i]!);
          const after = shape.map((_, i) => back[i]!);
          await agrees(pad, [shape], { before, after, value: 0.5 });
          await scope(async () => {
            const x = uniform({ shape, seed: 2 });
            const padded = pad(x, { before, after, value: 7 });
            const cut = slice(padded, { starts: before, ends: before.map((b, i) => b + shape[i]!) });
            expect(cut.shape).toEqual(shape);
            expect(await cut.data()).toEqual(await x.data());

            const axis = at % shape.length;
            const middle = Math.min(front[0]!, shape[axis]!);
            const range = (from: number, to: number) => ({
              starts: shape.map((_, i) => (i === axis ? from : 0)),
              ends: shape.map((d, i) => (i === axis ? to : d)),
            });
            const [left, right] = [slice(x, range(0, middle)), slice(x, range(middle, shape[axis]!))];
            expect(await concat([left, right], { axis }).data()).toEqual(await x.data());
          });
        },
      ),
      runs,
    ));

  it('slice takes any bounds and steps', () =>
    fc.assert(
      fc.asyncProperty(
        shapeOf(1, 4),
        fc.array(
          fc.tuple(
            fc.integer({ min: -12, max: 12 }),
            fc.integer({ min: -12, max: 12 }),
            fc.integer({ min: 1, max: 4 }),
          ),
          {
            minLength: 1,
            maxLength: 4,
          },
        ),
        async (shape, cuts) => {
          const used = cuts.slice(0, shape.length);
          const [starts, ends, steps] = [0, 1, 2].map((i) => used.map((cut) => cut[i]!));
          await agrees(slice, [shape], { starts, ends, steps });
        },
      ),
      runs,
    ));

  it('matmul multiplies any shapes that fit', () =>
    fc.assert(
      fc.asyncProperty(
        fc.tuple(...[0, 0, 0].map(() => fc.integer({ min: 0, max: 40 }))),
        shapeOf(0, 2, 1),
        fc.nat(2),
        fc.boolean(),
        fc.boolean(),
        async ([m, n, k], batch, how, transposeA, transposeB) => {
          const a = [...(how === 1 ? batch.map(() => 1) : batch), ...(transposeA ? [k!, m!] : [m!, k!])];
          const b = [...(how === 2 ? [] : batch), ...(transposeB ? [n!, k!] : [k!, n!])];
          await agrees(matmul, [a, b], { transposeA, transposeB });
        },
      ),
      runs,
    ));

  it('concat joins any number of tensors', () =>
    fc.assert(
      fc.asyncProperty(
        shapeOf(1, 3),
        fc.nat(2),
        fc.array(size, { minLength: 1, maxLength: 9 }),
        async (shape, at, lengths) => {
          const axis = at % shape.length;
          const all = lengths.map((n) => shape.map((d, i) => (i === axis ? n : d)));
          await agrees(concat, all, { axis }, (operands) => concat(operands, { axis }));
        },
      ),
      runs,
    ));

  describe('the same twice gives the same bits:', () => {
    const bits = async (t: Tensor) => Buffer.from((await t.data()).buffer).toString('base64');

    it.each(['uniform', 'normal'] as const)('%s of one seed, whole or in parts', (name) =>
      fc.assert(
        fc.asyncProperty(fc.nat(2 ** 31 - 1), shapeOf(0, 3, 1), async (seed, shape) => {
          const draw = name === 'uniform' ? uniform : normal;
          await scope(async () => {
            const first = await bits(draw({ shape, seed }));
            expect(await bits(draw({ shape, seed }))).toBe(first);
            if (sizeOf(shape) > 1) expect(await bits(draw({ shape, seed: seed + 1 }))).not.toBe(first);
            // A generator by counters: the first numbers do not depend on how many are drawn.
            const more = draw({ shape: [sizeOf(shape) + 5], seed });
            expect(await bits(slice(more, { ends: [sizeOf(shape)] }))).toBe(first);
          });
        }),
        { seed: 6, numRuns: 12 },
      ),
    );

    it('a program of many ops, in one block or in several, and on another runtime', async () => {
      const program = (pause: () => Promise<void> | undefined) =>
        scope(async () => {
          const x = normal({ shape: [67, 129], seed: 11 });
          const w = normal({ shape: [129, 65], seed: 12, std: 0.1 });
          const h = gelu(matmul(x, w));
          await pause();
          const p = softmax(mul(h, 2), { axis: -1 });
          const order = argmax(p, { axis: 0, keepDims: true });
          await pause();
          const picked = gather(p, order, { axis: 0 });
          const masked = where(cast(arange({ stop: 65, dtype: 'int32' }), { dtype: 'bool' }), picked, 0);
          const out = [
            sum(exp(p), { axis: 0 }),
            cumsum(masked, { axis: 1 }),
            mean(h),
            concat([p, h], { axis: 0 }),
          ];
          return Promise.all(out.map(bits));
        });
      const first = await program(() => undefined);
      expect(await program(() => undefined)).toEqual(first);
      expect(await program(() => runtime.sync())).toEqual(first);
      const other = new Runtime({ ...options, threads: 1 });
      useRuntime(other);
      try {
        expect(await program(() => undefined)).toEqual(first);
      } finally {
        useRuntime(runtime);
        other.dispose();
      }
    });
  });
});
