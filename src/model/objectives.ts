/**
 * What training minimises: the loss of the last layer, of all layers, or one of the six forms of confidence early exit of
 * the shared-block experiments, under their numbers there ("1-noise", "2-test", … "6-test-1").
 *
 * Of token t and layer i = 1 … L: logits z_i = head(norm(r_i)), xe_i = -ln softmax(z_i)[label], p_i the greatest
 * probability of softmax(z_i), nll_i = -ln p_i, and confidence c_i = -ln(1 - p_i). A token stops at layer i with
 * probability p_i, where a draw U_i falls below it, and at the last layer if not before:
 *   m_0 = 1;  m_i = m_{i-1} [U_i ≥ p_i] for i < L, m_L = 0: still running after i;  t_i = m_{i-1} - m_i: stops at i.
 * p̃_i, c̃_i are those of the block's next application to r_i, with its parameters and the head's frozen: the next layer
 * judges this one. The class that is most probable, the masks m and t and the draws are constants to the gradient, and no
 * label decides where a token stops. All are means over the tokens whose label counts:
 *   last    xe_L
 *   all     Σ_i xe_i
 *   exit1   xe_L - Σ_i nll_i / L: rewards doubt, and is noise
 *   exit2   xe_L - Σ_i c_i / L: rewards confidence, whatever it is confident of
 *   exit3   Σ_i xe_i c_i m_{i-1}
 *   exit4   Σ_i (t_i xe_i + 1 - t_i) c_i m_{i-1}: the label counts where the token stops
 *   exit5   Σ_i (t_i xe_i + 1 - t_i) c̃_i m_{i-1}, stopping by p̃_i
 *   exit6   Σ_i t_i xe_i - Σ_{i>1} c̃_i m_{i-1}, stopping by p̃_i
 * The experiments took m after layer i's draw in 3 to 5, where a token that stops counts no more and its label is never
 * read; here it is the mask before. exit2 and exit6 are not bounded below: c grows without end as p → 1, and a model that
 * says one word with certainty is rewarded for it. They are here to show that.
 */
import { frozen } from '../autograd/frozen.js';
import { noGrad } from '../autograd/modes.js';
import { dropoutOf } from '../nn/dropout.js';
import type { Parameter } from '../nn/parameter.js';
import {
  add,
  argmax,
  cast,
  crossEntropy,
  div,
  fill,
  greaterEqual,
  logSigmoid,
  logsumexp,
  max,
  maximum,
  mul,
  neg,
  notEqual,
  oneHot,
  sigmoid,
  slice,
  sub,
  sum,
  where,
} from '../ops/index.js';
import { type Tensor, tensor } from '../tensor/tensor.js';

export const objectives = ['last', 'all', 'exit1', 'exit2', 'exit3', 'exit4', 'exit5', 'exit6'] as const;
export type Objective = (typeof objectives)[number];

/** A model, layer by layer. */
export interface Layered {
  /** Layers, or applications of a shared block. */
  readonly applications: number;
  /** The residual stream before the first layer. */
  embed(ids: Tensor): Tensor;
  /** The stream after layer `i`, from 0, of what it was before. */
  apply(i: number, r: Tensor, call?: { mask?: Tensor }): Tensor;
  /** Logits of a stream. */
  unembed(r: Tensor): Tensor;
  parameters(): Parameter[];
}

export interface LossOptions {
  mask?: Tensor;
  labelSmoothing?: number;
  /** Labels that do not count. Default -100. */
  ignoreIndex?: number;
}

/** The forms whose confidence is the next application's: see above. */
export const judged = (objective: Objective): boolean => objective === 'exit5' || objective === 'exit6';

/** The objective at ids and labels [batch, length], a scalar. Draws of the exits come from the default generator. */
export function minimised(
  objective: Objective,
  model: Layered,
  ids: Tensor,
  labels: Tensor,
  options: LossOptions = {},
): Tensor {
  const { mask, ignoreIndex = -100, labelSmoothing = 0 } = options;
  const L = model.applications;
  const losses = { ignoreIndex, labelSmoothing };
  const last = objective === 'last';
  const all = objective === 'all';
  const stops = !['last', 'all', 'exit1', 'exit2'].includes(objective);
  const mean = meanOver(labels, ignoreIndex);
  const draws = stops ? drawn(L - 1, ids) : [];
  const parameters = judged(objective) ? model.parameters() : [];
  let r = model.embed(ids);
  let total: Tensor | undefined;
  const plus = (x: Tensor) => {
    total = total ? add(total, x) : x;
  };
  let running: Tensor | undefined; // m_{i-1}; undefined for 1
  const whileRunning = (x: Tensor) => mean(running ? mul(x, running) : x);
  for (let i = 1; i <= L; i++) {
    r = model.apply(i - 1, r, { mask });
    if (last && i < L) continue;
    const z = model.unembed(r);
    if (last || all) {
      plus(crossEntropy(z, labels, losses));
      continue;
    }
    const next = i === L ? L - 1 : i; // a shared block
    const judge = judged(objective)
      ? frozen(parameters, () => model.unembed(model.apply(next, r, { mask })))
      : z;
    const u = doubt(judge);
    if (!stops) {
      plus(mul(mean(objective === 'exit1' ? surprise(u) : confidence(u)), -1 / L));
      if (i === L) plus(crossEntropy(z, labels, losses));
      continue;
    }
    const xe = crossEntropy(z, labels, { ...losses, reduction: 'none' });
    const on = i < L ? goesOn(u, draws[i - 1]!) : undefined;
    // 1 where a running token stops here.
    const stopping = on && sub(1, on);
    switch (objective) {
      case 'exit3':
        plus(whileRunning(mul(xe, confidence(u))));
        break;
      case 'exit6':
        plus(whileRunning(stopping ? mul(xe, stopping) : xe));
        if (i > 1) plus(neg(whileRunning(confidence(u))));
        break;
      default: {
        const factor = stopping ? add(mul(xe, stopping), on) : xe;
        plus(whileRunning(mul(factor, confidence(u))));
      }
    }
    running = running && on ? mul(running, on) : on;
  }
  return total!;
}

/**
 * u = ln Σ_{k≠y} e^(z_k - z_y) of each row of logits, y its most probable class: p = 1 / (1 + e^u). Of u,
 * nll = ln(1 + e^u) and c = ln(1 + e^-u) with no difference of nearly equal numbers: c is right however near p is to 1,
 * where -ln(1 - p), and log1mexp(-nll) with it, is infinite as soon as p rounds to 1.
 */
export function doubt(z: Tensor): Tensor {
  const wide = z.dtype === 'float32' ? z : cast(z, { dtype: 'float32' });
  const best = oneHot(argmax(wide, { axis: -1 }), { depth: z.shape.at(-1)!, dtype: 'bool' });
  return sub(logsumexp(where(best, HIDDEN, wide)), max(wide, { axis: -1 }));
}

/** The logit of a class that is left out. */
const HIDDEN = -1e30;

/** nll = -ln p = ln(1 + e^u) */
export const surprise = (u: Tensor): Tensor => neg(logSigmoid(neg(u)));
/** c = -ln(1 - p) = ln(1 + e^-u) */
export const confidence = (u: Tensor): Tensor => neg(logSigmoid(u));

/** [U ≥ p] as 1 and 0. */
const goesOn = (u: Tensor, draw: Tensor): Tensor =>
  noGrad(() => cast(greaterEqual(draw, sigmoid(neg(u))), { dtype: 'float32' }));

/** x ↦ the mean of x [batch, length] over the tokens whose label counts; 0 where none does. */
function meanOver(labels: Tensor, ignoreIndex: number): (x: Tensor) => Tensor {
  let weights: Tensor | undefined;
  return (x) => {
    weights ??= noGrad(() => {
      const counts = cast(notEqual(labels, ignoreIndex), { dtype: 'float32' });
      return div(counts, maximum(sum(counts), 1));
    });
    return sum(mul(x, weights));
  };
}

const BITS = 24;

/**
 * `count` tensors of ids' shape, uniform in [0, 1): bits that dropout draws, as digits after the point. One draw of the
 * default generator, so that a run that is resumed repeats.
 */
export function drawn(count: number, { shape, size, runtime }: Tensor): Tensor[] {
  if (count === 0) return [];
  return noGrad(() => {
    const bits = dropoutOf(fill({ shape: [BITS, count, size], value: 0.5 }), 0.5); // 0 or 1
    const digits = Float32Array.from({ length: BITS }, (_, i) => 2 ** -(i + 1));
    const units = sum(mul(bits, tensor(digits, [BITS, 1, 1], { runtime })), { axis: 0 });
    return Array.from({ length: count }, (_, i) =>
      slice(units, { starts: [i], ends: [i + 1] }).reshape([...shape]),
    );
  });
}
