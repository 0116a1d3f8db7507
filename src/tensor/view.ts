/** Views: tensors over a part of another one's buffer. What is changed in place in either is changed in both. */

import { ArgumentError } from '../runtime/errors.js';
import { VIEW_ALIGNMENT } from '../runtime/runtime.js';
import { type Shape, show, spec } from './shape.js';
import { Storage, Tensor } from './tensor.js';

/**
 * The elements of `flat` from `offset` on, as a tensor of `shape`. Optimisers hold parameters, gradients and moments
 * as views of a few flat tensors, so that one kernel updates them all.
 * @param offset in elements; its bytes are a multiple of 256, at which every device can bind.
 */
export function viewOf(flat: Tensor, offset: number, shape: Shape): Tensor {
  const whole = flat.storage('viewOf', 'flat');
  const part = spec(shape, flat.dtype);
  const skip = (offset * flat.spec.bytes) / Math.max(1, flat.size);
  if (
    !Number.isInteger(offset) ||
    offset < 0 ||
    skip % VIEW_ALIGNMENT !== 0 ||
    offset + part.size > flat.size
  )
    throw new ArgumentError(`${show(shape, flat.dtype)} at element ${offset} is no part of ${flat}`, {
      op: 'viewOf',
      hint: `it lies within, and begins at a multiple of ${VIEW_ALIGNMENT} bytes`,
    });
  const { runtime } = whole;
  // Of a view of a view: the parent holds the bytes, and views begin where their parent's bytes do or further on.
  const parent = whole.parent ?? whole;
  const from = whole.parent ? offsets.get(whole)! : 0;
  const storage = new Storage(runtime, runtime.view(parent.buffer, from + skip), part.bytes, parent);
  offsets.set(storage, from + skip);
  const view = new Tensor(part, storage);
  storage.release(); // the tensor holds it now
  return view;
}

/** Bytes before each view in its parent. */
const offsets = new WeakMap<Storage, number>();
