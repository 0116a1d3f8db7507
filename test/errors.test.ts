/** Bad input: each a typed error that names the op and says what to do, after which the runtime still computes. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { add, arange, concat, fill, permute, softmax, sum, uniform } from '../src/index.js';
import { AttnError } from '../src/runtime/errors.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type DType, dtypes, encode } from '../src/tensor/dtype.js';
import { scope } from '../src/tensor/scope.js';
import { show, sizeOf } from '../src/tensor/shape.js';
import { Tensor, tensor } from '../src/tensor/tensor.js';
import { calls, operandsOf } from './support/calls.js';
import { expectTyped, failureOf } from './support/errors.js';
import { cpu } from './support/sides.js';

let runtime: Runtime;
let other: Runtime;
beforeAll(() => {
  // The budget lets an attribute that asks for terabytes fail without harm to the machine.
  runtime = new Runtime({ ...cpu.options, hostBudget: 64 * 2 ** 20 });
  other = new Runtime(cpu.options);
  useRuntime(runtime);
});
afterAll(() => {
  useRuntime(undefined);
  runtime.dispose();
  other.dispose();
});
afterEach(async () => {
  const four = add(tensor([1, 2]), tensor([3, 2]));
  expect(await four.data()).toEqual(new Float32Array([4, 4]));
  four.dispose();
});

it('takes data in memory that threads share', async () => {
  const x = tensor(new Float32Array(new SharedArrayBuffer(16), 4, 2).fill(3));
  expect(await x.data()).toEqual(new Float32Array([3, 3]));
  x.dispose();
});

/** Values that are no tensor, whatever else they are. A plain object is not here: it ends a call as attributes. */
const foreign: [string, unknown][] = [
  ['null', null],
  ['a string', 'x'],
  ['a boolean', true],
  ['a bigint', 1n],
  ['a symbol', Symbol('x')],
  ['a function', () => 1],
  ['a Date', new Date(0)],
  ['a typed array', new Float32Array(2)],
  ['a nested array', [[1, 2]]],
  ['an object of a null prototype', Object.create(null)],
  [
    'an object like a tensor',
    { shape: [2], dtype: 'float32', spec: {}, storage: () => ({ buffer: 1 }), x: 1 },
  ],
];

/** Attribute values that few ops take; those that do may succeed. */
const cyclic: unknown[] = [1];
cyclic.push(cyclic);
const odd: [string, unknown][] = [
  ['null', null],
  ['undefined', undefined],
  ['a string', 'x'],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
  ['-1', -1],
  ['-1000', -1000],
  ['1.5', 1.5],
  ['2^40', 2 ** 40],
  ['2^53', 2 ** 53],
  ['1e300', 1e300],
  ['true', true],
  ['an object', {}],
  ['a Date', new Date(0)],
  ['a bigint', 10n],
  ['a symbol', Symbol('s')],
  ['a function', () => 1],
  ['an empty array', []],
  ['[NaN]', [Number.NaN]],
  ['[1.5]', [1.5]],
  ["['x']", ['x']],
  ['[-9]', [-9]],
  ['[0, 0]', [0, 0]],
  ['[2^40]', [2 ** 40]],
  ['[2^30, 2^30]', [2 ** 30, 2 ** 30]],
  ['[null]', [null]],
  ['a bigint in an array', [1n]],
  ['nine axes', [0, 1, 2, 3, 4, 5, 6, 7, 8]],
  ['an array that holds itself', cyclic],
  ['a Float32Array', new Float32Array([0.5])],
];

describe.each(calls)('$name', ({ op, run }) => {
  const name = op.name;
  const withOperands = (change: (operands: unknown[]) => unknown[]) => {
    const { tensors, attrs } = operandsOf(op, runtime);
    return failureOf(() => run(change(tensors), attrs));
  };
  const inputSpec = (i: number) => op.inputSpecs[Math.min(i, op.inputSpecs.length - 1)]!;
  const places = op.inputSpecs.map((input, i) => [input.name, i] as const);

  /** The valid call gives the same bits before and after. */
  let expected: Uint8Array;
  const compute = () =>
    scope(async () => {
      const { tensors, attrs } = operandsOf(op, runtime);
      const data = await run(tensors, attrs).data();
      return new Uint8Array(data.buffer);
    });
  beforeAll(async () => {
    expected = await compute();
  });
  afterAll(async () => {
    expect(await compute()).toEqual(expected);
  });

  if (op.invalid?.length)
    it.each(op.invalid.map((entry) => [JSON.stringify(entry), entry] as const))('%s', async (_, entry) => {
      const inputs = entry.shapes.map((shape, i) => {
        const given = entry.dtypes?.[Math.min(i, entry.dtypes.length - 1)];
        const dtype = given ?? inputSpec(i).dtype ?? op.dtypes[0]!;
        return tensor(encode(dtype, new Float64Array(sizeOf(shape))), shape, { dtype });
      });
      const error = expectTyped(await failureOf(() => run(inputs, entry.attrs)), {
        code: entry.code,
        op: name,
      });
      // Two operands that do not fit: both shapes are told.
      if (error.code === 'ATTN_SHAPE' && inputs.length > 1)
        for (const input of inputs) expect(error.message).toContain(show(input.shape));
    });

  for (const [input, place] of places) {
    it.each(foreign)(`'${input}' is %s`, async (_, value) => {
      const error = await withOperands((o) => {
        o[place] = value;
        return o;
      });
      expectTyped(error, { code: 'ATTN_ARGUMENT', op: name, says: new RegExp(`'${input}'`) });
    });

    it(`'${input}' was disposed`, async () => {
      if (place >= operandsOf(op, runtime).tensors.length) return; // an optional one that the sample leaves out
      const error = await withOperands((o) => {
        (o[place] as Tensor).dispose();
        return o;
      });
      expectTyped(error, { code: 'ATTN_DISPOSED', op: name, says: new RegExp(`'${input}'.*\\[`) });
    });

    if (op.inputSpecs.length > 1)
      it(`'${input}' belongs to another runtime`, async () => {
        if (operandsOf(op, runtime).tensors.length === 1 && place === 0) return; // alone, it says which one
        const error = await withOperands((o) => {
          const t = o[place] as Tensor | undefined;
          if (t)
            o[place] = new Tensor(t.spec, {
              runtime: other,
              buffer: other.upload(new Uint8Array(t.spec.bytes)),
            });
          else o[place] = tensor([1], undefined, { runtime: other });
          return o;
        });
        expectTyped(error, { code: 'ATTN_DEVICE', op: name });
      });

    it(`'${input}' has a dtype that does not fit`, async () => {
      const { tensors, attrs } = operandsOf(op, runtime);
      if (place >= tensors.length) return;
      const { dtype: fixed, dtypes: allowed = fixed ? [fixed] : undefined } = op.inputSpecs[place]!;
      const free = tensors.filter((_, i) => !inputSpec(i).dtype && !inputSpec(i).dtypes);
      for (const dtype of dtypes) {
        const taken = allowed
          ? allowed.includes(dtype)
          : free.length > 1
            ? dtype === free[0]!.dtype // dtypes never mix
            : op.dtypes.includes(dtype);
        if (taken) continue;
        const { shape } = tensors[place]!;
        const wrong = tensor(encode(dtype, new Float64Array(tensors[place]!.size)), shape, { dtype });
        const error = await failureOf(() =>
          run(
            tensors.map((t, i) => (i === place ? wrong : t)),
            attrs,
          ),
        );
        expectTyped(error, { code: 'ATTN_DTYPE', op: name });
        expect((error as Error).message).toContain(show(shape, dtype));
      }
    });
  }

  it('takes neither too few nor too many operands', async () => {
    const most = op.inputSpecs.length;
    const least = most - (op.optional ?? 0);
    const wanted = { code: 'ATTN_ARGUMENT', op: name };
    if (least > 0) expectTyped(await withOperands((o) => o.slice(0, least - 1)), wanted);
    if (least > 0) expectTyped(await withOperands(() => new Array(least).fill(undefined)), wanted);
    if (!op.variadic)
      expectTyped(
        await withOperands((o) => [...o, ...Array.from({ length: most - o.length + 1 }, () => tensor([1]))]),
        wanted,
      );
  });

  it('takes no attribute that it does not have', async () => {
    const { tensors } = operandsOf(op, runtime);
    const error = await failureOf(() => run(tensors, { colour: 'red' }));
    expectTyped(error, { code: 'ATTN_ARGUMENT', op: name, says: /colour/ });
  });

  for (const key of Object.keys(op.attrs))
    it(`attribute ${key} of any kind works or fails as it should`, async () => {
      for (const [what, value] of odd) {
        const { tensors, attrs } = operandsOf(op, runtime);
        let result: Tensor;
        try {
          result = run(tensors, { ...attrs, [key]: value });
        } catch (error) {
          expectTyped(error, { op: name });
          continue;
        }
        // What was accepted runs, asks for more than there is, or makes indices point elsewhere.
        try {
          await result.runtime.sync();
        } catch (error) {
          expect(['ATTN_OUT_OF_MEMORY', 'ATTN_INDEX'], `${key} is ${what}: ${error}`).toContain(
            expectTyped(error, { op: name }).code,
          );
        }
        for (const t of [result, ...tensors]) t.dispose();
      }
    });
});

describe('tensor()', () => {
  const bad: [string, () => unknown, string][] = [
    ['NaN as a size', () => tensor([1], [Number.NaN]), 'ATTN_SHAPE'],
    ['a negative size', () => tensor([1], [-1]), 'ATTN_SHAPE'],
    ['a fractional size', () => tensor([1], [0.5]), 'ATTN_SHAPE'],
    ['a huge size', () => tensor([1], [2 ** 40]), 'ATTN_SHAPE'],
    ['an infinite size', () => tensor([1], [Number.POSITIVE_INFINITY]), 'ATTN_SHAPE'],
    ['a size that is a string', () => tensor([1], ['1' as unknown as number]), 'ATTN_SHAPE'],
    ['a size that is null', () => tensor([1], [null as unknown as number]), 'ATTN_SHAPE'],
    ['sizes whose product is huge', () => tensor([1], [2 ** 31 - 1, 2 ** 31 - 1]), 'ATTN_SHAPE'],
    ['a number as shape', () => tensor([1], 1 as unknown as number[]), 'ATTN_SHAPE'],
    ['null as shape', () => tensor([1], null as unknown as number[]), 'ATTN_SHAPE'],
    ['nine axes', () => tensor([1], [1, 1, 1, 1, 1, 1, 1, 1, 1]), 'ATTN_SHAPE'],
    ['nine levels of nesting', () => tensor([[[[[[[[[1]]]]]]]]]), 'ATTN_SHAPE'],
    ['too few values', () => tensor([1, 2, 3], [2, 2]), 'ATTN_SHAPE'],
    ['too many values', () => tensor(new Float32Array(5), [2, 2]), 'ATTN_SHAPE'],
    ['a list within itself', () => tensor(cyclic as number[]), 'ATTN_SHAPE'],
    ['ragged rows', () => tensor([[1, 2], [3]]), 'ATTN_SHAPE'],
    ['rows beside numbers', () => tensor([[1], 2]), 'ATTN_SHAPE'],
    ['null', () => tensor(null as unknown as number), 'ATTN_ARGUMENT'],
    ['undefined', () => tensor(undefined as unknown as number), 'ATTN_ARGUMENT'],
    ['a string', () => tensor('1' as unknown as number), 'ATTN_ARGUMENT'],
    ['a string within', () => tensor(['1'] as unknown as number[]), 'ATTN_ARGUMENT'],
    ['an object', () => tensor({} as unknown as number), 'ATTN_ARGUMENT'],
    ['a bigint', () => tensor(1n as unknown as number), 'ATTN_ARGUMENT'],
    ['a tensor', () => tensor(tensor([1]) as unknown as number), 'ATTN_ARGUMENT'],
    ['a Uint16Array of no dtype', () => tensor(new Uint16Array(2)), 'ATTN_ARGUMENT'],
    ['a BigInt64Array', () => tensor(new BigInt64Array(2) as unknown as Float32Array), 'ATTN_ARGUMENT'],
    [
      'a DataView',
      () => tensor(new DataView(new ArrayBuffer(8)) as unknown as Float32Array),
      'ATTN_ARGUMENT',
    ],
    ['an unknown dtype', () => tensor([1], [1], { dtype: 'float8' as DType }), 'ATTN_DTYPE'],
    ['a dtype that is an object', () => tensor([1], [1], { dtype: {} as DType }), 'ATTN_DTYPE'],
    ['no runtime', () => tensor([1], [1], { runtime: {} as Runtime }), 'ATTN_ARGUMENT'],
  ];
  it.each(bad)('of %s', async (_, make, code) => {
    expectTyped(await failureOf(make), { code, op: 'tensor' });
  });

  it('beyond the budget says what was asked, what is used and what there is', async () => {
    const bytes = 100 * 2 ** 20;
    const error = expectTyped(await failureOf(() => tensor(new Uint8Array(bytes))), {
      code: 'ATTN_OUT_OF_MEMORY',
      op: 'tensor',
    });
    expect(error.message).toContain(String(bytes));
    expect(error.message).toContain(String(64 * 2 ** 20));
  });

  it('of a detached array is refused', async () => {
    const values = new Float32Array(4);
    structuredClone(values.buffer, { transfer: [values.buffer] });
    expectTyped(await failureOf(() => tensor(values, [4])), { code: 'ATTN_SHAPE', op: 'tensor' });
  });
});

describe('shapes that ops make', () => {
  it.each([
    ['fill', () => fill({ shape: [2 ** 31, 2 ** 31] })],
    ['fill', () => fill({ shape: [2 ** 30, 2 ** 30] })],
    ['uniform', () => uniform({ shape: [2 ** 31, 2 ** 31] })],
    ['uniform', () => uniform({ shape: [2 ** 30, 2 ** 30] })],
    ['arange', () => arange({ stop: 1e18 })],
    ['add', () => add(fill({ shape: [2 ** 22, 1] }), fill({ shape: [2 ** 30] }))],
  ])('%s beyond what a tensor holds', async (op, make) => {
    expectTyped(await failureOf(make), { code: 'ATTN_SHAPE', op });
    await runtime.sync().catch(() => {}); // the operand of 4 GB has no room, which is not what this is about
  });
});

describe('axes', () => {
  const x = () => tensor(new Float32Array(6), [2, 3]);
  it.each([
    ['softmax', () => softmax(x(), { axis: 2 })],
    ['softmax', () => softmax(x(), { axis: -3 })],
    ['softmax', () => softmax(x(), { axis: 0.5 })],
    ['softmax', () => softmax(tensor(1), { axis: 0 })],
    ['sum', () => sum(x(), { axis: [0, 0] })],
    ['sum', () => sum(x(), { axis: [0, -2] })],
    ['sum', () => sum(x(), { axis: 5 })],
    ['permute', () => permute(x(), { axes: [1, 1] })],
    ['permute', () => permute(x(), { axes: [1, -1] })],
    ['concat', () => concat([x(), x()], { axis: 2 })],
  ])('%s refuses one outside, or one named twice', async (op, call) => {
    expectTyped(await failureOf(call), { code: 'ATTN_ARGUMENT', op });
  });
});

describe('tensors', () => {
  const x = () => tensor([1, 2, 3, 4, 5, 6], [2, 3]);
  it.each([
    ['another size', [4]],
    ['no whole free axis', [-1, 4]],
    ['two free axes', [-1, -1]],
    ['NaN', [Number.NaN]],
    ['a fraction', [1.5, 4]],
    ['2^40', [2 ** 40, 0]],
    ['nothing to divide by', [-1, 0]],
    ['nine axes', [1, 1, 1, 1, 1, 1, 1, 2, 3]],
    ['null', null],
    ['a number', 6],
    ['a string', '6'],
  ])('reshape to %s is refused', async (_, shape) => {
    expectTyped(await failureOf(() => x().reshape(shape as number[])), { code: 'ATTN_SHAPE', op: 'reshape' });
  });

  it('item() of many elements tells the shape', async () => {
    const says = /float32\[2,3\]/;
    expectTyped(await failureOf(() => x().item()), { code: 'ATTN_SHAPE', op: 'item', says });
    expectTyped(await failureOf(() => x().itemSync()), { code: 'ATTN_SHAPE', op: 'item', says });
  });

  it.each(['data', 'dataSync', 'array', 'arraySync', 'item', 'itemSync'] as const)(
    '%s() of a disposed one is refused',
    async (method) => {
      const t = tensor([1]);
      t.dispose();
      expectTyped(await failureOf(() => t[method]()), { code: 'ATTN_DISPOSED', op: method });
    },
  );

  it('reshape and methods of a disposed one are refused', async () => {
    const t = tensor([1]);
    t.dispose();
    expectTyped(await failureOf(() => t.reshape([1, 1])), { code: 'ATTN_DISPOSED', op: 'reshape' });
    expectTyped(await failureOf(() => t.add(1)), { code: 'ATTN_DISPOSED', op: 'add' });
    expectTyped(await failureOf(() => add(1, t)), { code: 'ATTN_DISPOSED', op: 'add' });
    expect(String(t)).toBe('Tensor(float32[1], disposed)');
  });
});

it('a message begins with the op and ends with the hint', () => {
  expect(new AttnError('ATTN_SHAPE', 'x', { op: 'y', hint: 'z' }).message).toBe('y(): x\n  hint: z');
});
