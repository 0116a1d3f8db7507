/** Equations that nobody thought of, against the sum that they write down, in Float64. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { einsum, gradcheck } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { decode, encode } from '../src/tensor/dtype.js';
import { scope } from '../src/tensor/scope.js';
import { type Shape, sizeOf, spec, stridesOf } from '../src/tensor/shape.js';
import { tensor } from '../src/tensor/tensor.js';
import { compare, values } from './support/conformance.js';
import { sides } from './support/sides.js';

/** Walks every combination of all labels. */
function naive(inputs: string[], output: string, shapes: Shape[], operands: Float64Array[]) {
  const labels = [...new Set(inputs.join(''))];
  const sizes = labels.map((l) => {
    const i = inputs.findIndex((term) => term.includes(l));
    return shapes[i]![inputs[i]!.indexOf(l)]!;
  });
  const shape = [...output].map((l) => sizes[labels.indexOf(l)]!);
  const out = new Float64Array(sizeOf(shape));
  const at = (term: string, dims: Shape, index: number[]) =>
    [...term].reduce((sum, l, axis) => sum + index[labels.indexOf(l)]! * stridesOf(dims)[axis]!, 0);
  for (let e = 0; e < sizeOf(sizes); e++) {
    const index = stridesOf(sizes).map((s, i) => Math.floor(e / s) % sizes[i]!);
    const product = inputs.reduce((p, term, i) => p * operands[i]![at(term, shapes[i]!, index)]!, 1);
    out[at(output, shape, index)]! += product;
  }
  return { shape, out };
}

const float32 = (shape: Shape, seed: number) =>
  encode('float32', values(spec(shape, 'float32'), [-1, 1], seed));

async function agrees(equation: string, inputs: string[], output: string, shapes: Shape[]) {
  const raw = shapes.map((shape, i) => float32(shape, i + 1));
  const want = naive(
    inputs,
    output,
    shapes,
    raw.map((r) => decode('float32', r)),
  );
  await scope(async () => {
    const got = einsum(equation, ...raw.map((r, i) => tensor(r, shapes[i])));
    expect(got.shape, equation).toEqual(want.shape);
    expect(compare('float32', await got.data(), want.out, 1e-5), `${equation} of ${shapes.join(' ')}`).toBe(
      '',
    );
  });
}

const letters = [...'abcdXY'];

/** Equations of one to three operands over six labels, with repeated ones, and the sizes of the labels. */
const contractions = fc
  .tuple(
    fc.array(fc.array(fc.constantFrom(...letters), { maxLength: 4 }), { minLength: 1, maxLength: 3 }),
    fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 6, maxLength: 6 }),
    fc.shuffledSubarray(letters),
  )
  .map(([terms, sizes, picked]) => ({
    inputs: terms.map((t) => t.join('')),
    output: picked.filter((l) => terms.flat().includes(l)).join(''),
    shapes: terms.map((t) => t.map((l) => sizes[letters.indexOf(l)]!)),
  }));

describe.each(sides)('einsum on $side', ({ side, options }) => {
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

  it('sums what its equation says', () =>
    fc.assert(
      fc.asyncProperty(contractions, ({ inputs, output, shapes }) =>
        agrees(`${inputs.join(',')}->${output}`, inputs, output, shapes),
      ),
      { seed: 7, numRuns: side === 'cpu' ? 300 : 40 },
    ));

  it.each([
    [
      'ij,jk',
      'ij,jk->ik',
      [
        [3, 4],
        [4, 5],
      ],
    ],
    ['ba', 'ba->ab', [[2, 3]]],
    ['i,i', 'i,i->', [[5], [5]]],
    ['ii', 'ii->', [[4, 4]]],
    ['bTa, b', 'bTa,b->Ta', [[2, 3, 4], [2]]],
  ] as const)('%s is %s', (implicit, explicit, shapes) => {
    const [left, right] = explicit.split('->') as [string, string];
    return agrees(implicit, left.split(','), right, shapes as unknown as Shape[]);
  });

  it.each([
    [
      '...ij,...jk->...ik',
      'xyij,xyjk->xyik',
      [
        [2, 3, 4, 5],
        [2, 3, 5, 6],
      ],
    ],
    [
      '...ij,jk',
      'xyij,jk->xyik',
      [
        [2, 3, 4, 5],
        [5, 6],
      ],
    ],
    [
      '...i,...i->...',
      'xyi,yi->xy',
      [
        [2, 3, 4],
        [3, 4],
      ],
    ],
    ['a...', 'axy->xya', [[2, 3, 4]]],
    ['...', '->', [[]]],
    [
      ' b h q d , b h k d -> b h q k',
      'bhqd,bhkd->bhqk',
      [
        [2, 3, 4, 5],
        [2, 3, 6, 5],
      ],
    ],
  ] as const)('%s is %s', (short, long, shapes) => {
    const [left, right] = long.split('->') as [string, string];
    return agrees(short, left.split(','), right, shapes as unknown as Shape[]);
  });

  it.each([
    [
      'bhqd,bhkd->bhqk',
      [
        [2, 2, 3, 4],
        [2, 2, 5, 4],
      ],
    ],
    [
      'ij,jk,kl->il',
      [
        [2, 3],
        [3, 4],
        [4, 2],
      ],
    ],
    [
      'iij,kj->ik',
      [
        [3, 3, 2],
        [4, 2],
      ],
    ],
    ['i,j->ij', [[3], [4]]],
    ['...ij->...', [[2, 3, 4]]],
  ] as const)('has the gradient of %s', (equation, shapes) =>
    scope(() => {
      const operands = shapes.map((shape, i) => tensor(float32([...shape], i + 1), [...shape]));
      const { compared } = gradcheck((...x) => einsum(equation, ...x), operands);
      expect(compared).toBeGreaterThan(0);
    }),
  );

  it('gives a tensor of its own where there is nothing to do', () =>
    scope(async () => {
      const x = tensor([1, 2, 3]);
      const y = einsum('i->i', x);
      x.dispose();
      expect([...(await y.data())]).toEqual([1, 2, 3]);
    }));

  it('multiplies integers where nothing is contracted, and sums halves in float32', () =>
    scope(async () => {
      const i = tensor([1, 2, 3], [3], { dtype: 'int32' });
      expect([...(await einsum('a,b->ab', i, i).data())]).toEqual([1, 2, 3, 2, 4, 6, 3, 6, 9]);
      const h = tensor([0.5, 1.5, 2], [3], { dtype: 'bfloat16' });
      expect(await einsum('a,a->', h, h).item()).toBe(6.5);
    }));

  it.each([
    [
      'ij,jk->ij1',
      [
        [2, 3],
        [3, 4],
      ],
      'ATTN_ARGUMENT',
      /'1' in 'ij,jk->ij1' is no label/,
    ],
    ['ij->ijk', [[2, 3]], 'ATTN_ARGUMENT', /has 'k', which no operand has/],
    ['ij->ii', [[2, 3]], 'ATTN_ARGUMENT', /repeats 'i'/],
    ['ij->i->j', [[2, 3]], 'ATTN_ARGUMENT', /more than one '->'/],
    ['ij,jk->ik', [[2, 3]], 'ATTN_ARGUMENT', /names 2 operands but 1 were given/],
    ['......->', [[2, 3]], 'ATTN_ARGUMENT', /more than one '\.\.\.'/],
    ['..i->i', [[2, 3]], 'ATTN_ARGUMENT', /'\.' in '\.\.i->i' is no label/],
    ['...i->i', [[2, 3]], 'ATTN_ARGUMENT', /lacks the '\.\.\.'/],
    ['ij->i', [[2, 3, 4]], 'ATTN_SHAPE', /'ij' labels 2 axes but operand 0 is \[2,3,4\]/],
    ['ij...->i', [[2]], 'ATTN_SHAPE', /'ij\.\.\.' labels/],
    [
      'ij,jk->ik',
      [
        [2, 3],
        [4, 5],
      ],
      'ATTN_SHAPE',
      /'j' in 'ij,jk->ik' is 3 and, in operand 1 \[4,5\], 4/,
    ],
    ['ii->i', [[2, 3]], 'ATTN_SHAPE', /'i' in 'ii->i' is 2 and, in operand 0 \[2,3\], 3/],
    [
      '...i,...i->...',
      [
        [2, 3],
        [1, 3],
      ],
      'ATTN_SHAPE',
      /nothing is broadcast/,
    ],
    [
      'abcde,fghij->abcdefghij',
      [
        [1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1],
      ],
      'ATTN_SHAPE',
      /has 10 axes/,
    ],
  ] as const)('refuses %s of %j', (equation, shapes, code, message) =>
    scope(() => {
      const operands = shapes.map((s) => tensor(float32(s, 1), [...s]));
      expect(() => einsum(equation, ...operands)).toThrow(expect.objectContaining({ code, op: 'einsum' }));
      expect(() => einsum(equation, ...operands)).toThrow(message);
    }),
  );

  it('refuses what is no tensor', () => {
    expect(() => einsum('i->i', [1, 2] as never)).toThrow(/operand 0 must be a tensor but is Array/);
    expect(() => scope(() => einsum(3 as never, tensor([1])))).toThrow(/the equation is number/);
  });
});
