/** How attention and MLP change the residual stream: one table of formulas. */
import type { Tensor } from '../tensor/tensor.js';

/** What formulas are made of. A `residual` is added to what a branch gives, in the same pass. */
export interface Parts {
  /** The residual stream. */
  r: Tensor;
  /** norm(r) */
  x: Tensor;
  /** The second norm. */
  n(y: Tensor): Tensor;
  /** Attention, times attentionScale. */
  a(x: Tensor, residual?: Tensor): Tensor;
  /** The MLP. */
  m(x: Tensor, residual?: Tensor): Tensor;
  add(a: Tensor, b: Tensor): Tensor;
  mul(a: Tensor, b: Tensor): Tensor;
}

export interface Form {
  /** As a person writes it. */
  formula: string;
  /** Between the branches, or what they add: the `mid` of residualStats. */
  y(parts: Parts): Tensor;
  /** The stream after the block, where it has an MLP; y itself where it has none. */
  next(y: Tensor, parts: Parts): Tensor;
  /** It has attention. */
  attends: boolean;
  /** It cannot do without an MLP. */
  feeds: boolean;
  /** The MLP reads n(y). */
  norms: boolean;
}

const form = (
  formula: string,
  y: Form['y'],
  next: Form['next'],
  { attends = true, feeds = false, norms = true }: Partial<Form> = {},
): Form => ({ formula, y, next, attends, feeds, norms });

/**
 * r is the residual stream, x = n(r), r' what the block gives. `parallel` is the block of GPT-J and PaLM; the others
 * beside `sequential` are the residual experiments whose laws residualStats shows.
 */
export const blockForms = {
  sequential: form(
    "y = r + a(x), r' = y + m(n(y))",
    ({ r, x, a }) => a(x, r),
    (y, { n, m }) => m(n(y), y),
  ),
  parallel: form(
    "y = r + a(x), r' = y + m(x)",
    ({ r, x, a }) => a(x, r),
    (y, { x, m }) => m(x, y),
    { norms: false },
  ),
  axm: form(
    "y = a(x) ⊙ m(x), r' = r + y",
    ({ x, a, m, mul }) => mul(a(x), m(x)),
    (y, { r, add }) => add(r, y),
    { norms: false, feeds: true },
  ),
  timesplus: form(
    "y = r ⊙ a(x), r' = y + m(n(y))",
    ({ r, x, a, mul }) => mul(r, a(x)),
    (y, { n, m }) => m(n(y), y),
  ),
  plustimes: form(
    "y = r + a(x), r' = y ⊙ m(n(y))",
    ({ r, x, a }) => a(x, r),
    (y, { n, m, mul }) => mul(y, m(n(y))),
  ),
  xplus: form(
    "y = x + a(x), r' = y + m(n(y))",
    ({ x, a }) => a(x, x),
    (y, { n, m }) => m(n(y), y),
  ),
  escape: form(
    "y = r + a(x), r' = r + m(n(y))",
    ({ r, x, a }) => a(x, r),
    (y, { r, n, m }) => m(n(y), r),
    { feeds: true },
  ),
  noattn: form(
    "y = r, r' = r + m(x)",
    ({ r }) => r,
    (y, { x, m }) => m(x, y),
    { norms: false, feeds: true, attends: false },
  ),
  bare: form(
    "y = a(x), r' = m(n(y))",
    ({ x, a }) => a(x),
    (y, { n, m }) => m(n(y)),
  ),
} as const satisfies Record<string, Form>;

export type BlockForm = keyof typeof blockForms;
