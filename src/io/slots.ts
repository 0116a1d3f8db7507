/** Parameters of a model to and from the tensors of a file, as the slots of a layout pair them. */
import { noGrad } from '../autograd/modes.js';
import type { Module } from '../nn/module.js';
import type { Parameter } from '../nn/parameter.js';
import { slice } from '../ops/index.js';
import { CheckpointError, FormatError } from '../runtime/errors.js';
import { isFloat, type TypedArray } from '../tensor/dtype.js';
import { scope } from '../tensor/scope.js';
import { show, sizeOf } from '../tensor/shape.js';
import { tensor } from '../tensor/tensor.js';
import { type TensorSource, toFloat32 } from './host.js';
import type { Layout, Slot } from './layouts/layout.js';
import type { Weights } from './weights.js';

/** Every parameter under its own name. */
export const ownSlots = (model: Module): Slot[] =>
  [...model.namedParameters()].map(([name, { shape }]) => ({ name, parameter: name, shape }));

/** The tensors of a file, read from the parameters one by one as they are written. */
export function sources(model: Module, slots: Iterable<Slot>): Record<string, TensorSource> {
  const parameters = new Map(model.namedParameters());
  const written = [...slots].filter(({ copy }) => !copy);
  return Object.fromEntries(
    written.map((slot) => [
      slot.name,
      {
        dtype: 'float32',
        shape: storedShape(slot),
        async read() {
          const rows = await rowsOf(parameters.get(slot.parameter)!, slot);
          return slot.transposed ? transposed(rows, slot.shape[0]!, slot.shape[1]!) : rows;
        },
      },
    ]),
  );
}

const storedShape = ({ shape, transposed }: Slot) => (transposed ? [...shape].reverse() : shape);

/** The rows of a parameter that a slot is. */
function rowsOf(p: Parameter, { from = 0, shape }: Slot): Promise<TypedArray> {
  const [rows = 0, ...rest] = shape;
  if (rows === p.shape[0] || p.rank === 0) return p.data();
  return noGrad(() =>
    scope(() => slice(p, { starts: [from, ...rest.map(() => 0)], ends: [from + rows, ...rest] }).data()),
  );
}

/** x [rows, columns] → [columns, rows], in tiles that caches hold. */
function transposed(x: TypedArray, rows: number, columns: number): Float32Array {
  const out = new Float32Array(x.length);
  const tile = 16;
  for (let r0 = 0; r0 < rows; r0 += tile)
    for (let c0 = 0; c0 < columns; c0 += tile)
      for (let c = c0; c < Math.min(c0 + tile, columns); c++)
        for (let r = r0; r < Math.min(r0 + tile, rows); r++) out[c * rows + r] = x[r * columns + c]!;
  return out;
}

/** Slots with the tensors of the files that fill them. */
export type Filled = readonly { slot: Slot; name: string }[];

/**
 * Finds each slot's tensor before any memory is taken for a model.
 * @throws CheckpointError for what is missing, of another shape or too much, FormatError for what is not floats
 */
export function find(
  weights: Weights,
  slots: Iterable<Slot>,
  canonical: Layout['canonical'] = (name) => name,
): Filled {
  const names = new Map<string, string>();
  for (const name of weights.names) {
    const key = canonical(name);
    if (key === null) continue;
    if (names.has(key))
      throw new FormatError(
        `${weights.pathOf(name)} has '${name}' and '${names.get(key)}', which are the same`,
        {
          hint: 'one of them is the weight: leave out the other',
        },
      );
    names.set(key, name);
  }
  const filled: { slot: Slot; name: string }[] = [];
  const fail = (what: string): never => {
    throw new CheckpointError(what, { hint: 'do config.json and the weights belong together?' });
  };
  for (const slot of slots) {
    const name = names.get(slot.name);
    if (name === undefined) {
      if (slot.copy) continue;
      return fail(`the weights in ${weights.folder} have no '${slot.name}'`);
    }
    names.delete(slot.name);
    const { dtype, shape } = weights.describe(name)!;
    const wanted = storedShape(slot);
    if (show(shape) !== show(wanted))
      return fail(
        `'${name}' in ${weights.pathOf(name)} is ${show(shape)}, and ${show(wanted)} by config.json`,
      );
    if (!isFloat(dtype))
      throw new FormatError(`'${name}' in ${weights.pathOf(name)} is ${dtype}`, {
        hint: 'weights are F32, F16, BF16 or F64',
      });
    filled.push({ slot, name });
  }
  const [left] = names.values();
  if (left !== undefined) return fail(`'${left}' in ${weights.pathOf(left)} is no weight of the model`);
  return filled;
}

/**
 * Reads weights into a model, a parameter at a time.
 * @throws CheckpointError, before anything is written, where they are not the parameters of the model; FormatError where a
 * copy differs from what it copies
 */
export function fill(model: Module, filled: Filled, weights: Weights): void {
  const parameters = new Map(model.namedParameters());
  const groups = new Map<string, { slot: Slot; name: string }[]>();
  for (const pair of filled) {
    const group = groups.get(pair.slot.parameter);
    if (group) group.push(pair);
    else groups.set(pair.slot.parameter, [pair]);
  }
  check(parameters, groups, weights.folder);
  for (const [parameter, pairs] of groups) {
    const p = parameters.get(parameter)!;
    const data = new Float32Array(p.size);
    for (const { slot, name } of pairs) {
      const read = toFloat32(weights.read(name))!;
      const { from = 0, shape, copy } = slot;
      const rows = slot.transposed ? transposed(read, shape[1]!, shape[0]!) : read;
      if (!copy) data.set(rows, from * sizeOf(shape.slice(1)));
      else if (!rows.every((x, i) => Object.is(x, data[i])))
        throw new FormatError(`'${name}' in ${weights.pathOf(name)} differs from '${pairs[0]!.name}'`, {
          hint: 'tie_word_embeddings is true, so they are one',
        });
    }
    using t = tensor(data, p.shape, { runtime: p.runtime });
    model.loadStateDict({ [parameter]: t }, { strict: false });
  }
}

function check(
  parameters: ReadonlyMap<string, Parameter>,
  groups: ReadonlyMap<string, Filled>,
  folder: string,
): void {
  const refuse = (what: string): never => {
    throw new CheckpointError(`the weights in ${folder} are of another model: ${what}`, {
      hint: 'load them into a model of the same configuration',
    });
  };
  for (const name of groups.keys()) if (!parameters.has(name)) refuse(`this one has no '${name}'`);
  for (const [name, { shape }] of parameters) {
    const slots = groups.get(name)?.map(({ slot }) => slot) ?? refuse(`they have no '${name}'`);
    const rows = slots.reduce((n, { shape: [d = 1], copy }) => n + (copy ? 0 : d), 0);
    const given = slots[0]!.shape.length > 0 ? [rows, ...slots[0]!.shape.slice(1)] : [];
    if (show(given) !== show(shape)) refuse(`'${name}' is ${show(given)} there and ${show(shape)} here`);
  }
}
