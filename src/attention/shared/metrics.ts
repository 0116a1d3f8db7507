/**
 * What a layer attends to: entropies of its rows from the sweep, and, on demand, the weights themselves and how they
 * entangle what they relate. Forward passes are watched, not changed: the attention ops that one calls are called again
 * on the same operands, once for entropies, and for weights on values that are columns of the identity.
 */
import {
  computeEntanglementEntropy,
  type Entanglement,
  type MpsProfile,
  mpsProfile,
} from '../../geometry/entanglement.js';
import type { SomeAttentionAttrs } from '../../ops/attention.walk.js';
import { packedHeads, sizesOf, visibleKeys } from '../../ops/attention.walk.js';
import type { Op } from '../../ops/contract.js';
import {
  add,
  attention,
  concat,
  fill,
  log,
  maximum,
  mul,
  packedAttention,
  permute,
  scoredAttention,
  slice,
  sum,
} from '../../ops/index.js';
import { observer, record } from '../../ops/record.js';
import { ArgumentError } from '../../runtime/errors.js';
import { onRuntime } from '../../runtime/runtime.js';
import { keep, scope } from '../../tensor/scope.js';
import { Tensor, tensor } from '../../tensor/tensor.js';
import { wide } from './heads.js';
import { watchLayers } from './watch.js';

export interface MetricsOptions {
  /** Query heads whose maps are wanted. */
  heads?: readonly number[];
  /** Entanglement of so many regions of these maps; all heads where none are named. Costs O(T³) a map. */
  regions?: number;
  /** Their profile as matrix product states. */
  mps?: 'prime' | 'binary';
}

type RowShape = readonly [batch: number, heads: number, length: number];

export interface AttentionMetrics {
  /** Shannon entropy of the weights of each query, in nats: [batch, heads, length]; 0 where it sees nothing. */
  rows: Float32Array;
  shape: RowShape;
  /** Mean over batch and queries, of each head. */
  entropy: Float64Array;
  /** What uniform weights over the keys that order and window leave visible would have. */
  uniform: number;
  /** Weights, float32 [batch, heads asked for, length, keys]: the caller's to dispose. Null where none were asked for. */
  maps: Tensor | null;
  /** Of each map in order. */
  entanglement: Entanglement | null;
  mps: MpsProfile | null;
}

/** A call of an attention op. */
export interface Sweep {
  op: Op;
  attrs: SomeAttentionAttrs;
  inputs: readonly Tensor[];
}

const sweeping = new Set<unknown>([attention.op, packedAttention.op, scoredAttention.op]);

/** What a call of a layer left: the operands of its sweeps, or the weights that it held in full. */
export interface Seen {
  /** Null for what no layer made. */
  layer: object | null;
  sweeps: Sweep[];
  weights: Tensor[];
}

/** Runs a forward pass, which is not async, and keeps what each call of a layer left, in order. */
export function watch(forward: () => Tensor): Seen[] {
  let seen: Seen = { layer: null, sweeps: [], weights: [] };
  const calls = [seen];
  const alias = (t: Tensor) => keep(new Tensor(t.spec, t));
  const { recorded, watchAll } = observer;
  observer.watchAll = true;
  observer.recorded = (op, problem, inputs, outputs) => {
    if (sweeping.has(op))
      seen.sweeps.push({ op, attrs: problem.attrs as SomeAttentionAttrs, inputs: inputs.map(alias) });
    if (watchAll || inputs.some((t) => t.edge)) recorded?.(op, problem, inputs, outputs);
  };
  try {
    const layer = (called: object) => calls.push((seen = { layer: called, sweeps: [], weights: [] }));
    watchLayers({ layer, weights: (w) => seen.weights.push(alias(w)) }, forward).dispose();
  } catch (error) {
    release(calls);
    throw error;
  } finally {
    Object.assign(observer, { recorded, watchAll });
  }
  return calls;
}

export function release(calls: readonly Seen[]): void {
  for (const { sweeps, weights } of calls)
    for (const t of [...sweeps.flatMap((s) => s.inputs), ...weights]) t.dispose();
}

/** Row entropies of a call, on their way: float32 [batch, heads, length]. Null where the call has not one set of rows. */
export function entropiesOf(seen: Seen): { entropies: Tensor; shape: RowShape; keys: number } | null {
  if (seen.sweeps.length + seen.weights.length !== 1) return null;
  const weights = seen.weights[0] && wide(seen.weights[0]);
  return weights
    ? {
        entropies: entropyOf(weights),
        shape: weights.shape.slice(0, 3) as [number, number, number],
        keys: weights.shape[3]!,
      }
    : {
        entropies: statsOf(seen.sweeps[0]!),
        shape: rowsOf(seen.sweeps[0]!),
        keys: sizes(seen.sweeps[0]!).Tk,
      };
}

/** Of one forward pass without gradients, which `forward` runs before this function first waits. */
export async function metricsOf(
  name: string,
  forward: () => Tensor,
  order: { causal: boolean; window: number },
  { heads, regions, mps }: MetricsOptions,
): Promise<AttentionMetrics> {
  const calls = watch(forward);
  try {
    return await scope(async () => {
      const seen = {
        layer: null,
        sweeps: calls.flatMap((c) => c.sweeps),
        weights: calls.flatMap((c) => c.weights),
      };
      const found = entropiesOf(seen);
      if (!found)
        throw new ArgumentError('there are no rows of weights of keys to measure', {
          op: name,
          hint: 'kinds that sum over states have none, and those of pairs are told by simplicialStats',
        });
      const { entropies, shape, keys } = found;
      const wanted =
        heads ?? (regions !== undefined || mps ? Array.from({ length: shape[1] }, (_, h) => h) : []);
      for (const h of wanted)
        if (!Number.isInteger(h) || h < 0 || h >= shape[1])
          throw new ArgumentError(`heads holds ${String(h)}`, {
            op: name,
            hint: `heads count from 0 to ${shape[1] - 1}`,
          });
      const maps =
        wanted.length === 0
          ? null
          : chosen(seen.weights[0] ? wide(seen.weights[0]) : weightsOf(seen.sweeps[0]!), wanted);
      const rows = (await entropies.data()) as Float32Array;
      return {
        rows,
        shape,
        entropy: meansOf(rows, shape),
        uniform: uniformOf({ Tq: shape[2], Tk: keys, ...order }),
        maps: heads ? maps : null,
        entanglement: maps && regions !== undefined ? await computeEntanglementEntropy(maps, regions) : null,
        mps: maps && mps ? await mpsProfile(maps, { modes: mps }) : null,
      };
    });
  } finally {
    release(calls);
  }
}

// ---------------------------------------------------------------- of a sweep

const sizes = ({ inputs, attrs }: Sweep) =>
  sizesOf(inputs[0]!.shape, inputs['heads' in attrs ? 0 : 1]!.shape, attrs);

function rowsOf(sweep: Sweep): [number, number, number] {
  const { B, Hq, Tq } = sizes(sweep);
  return [B, Hq, Tq];
}

/** Row entropies [B, H, T], by the sweep itself. */
function statsOf({ op, inputs, attrs }: Sweep): Tensor {
  return record(op, inputs, { ...attrs, entropy: true })[2]!;
}

/**
 * Weights [B, H, Tq, Tk]: the result of attention where value j is the j-th unit vector, as many of them at a time as a
 * head has channels. Any score, mask, window and order is the sweep's own.
 */
function weightsOf(sweep: Sweep): Tensor {
  const { op, inputs, attrs } = unpacked(sweep);
  const k = inputs[1]!;
  const [batch, stored, kvHeads, D] = k.shape as [number, number, number, number];
  const { Tk } = sizes({ op, inputs, attrs });
  const zeros = onRuntime(k.runtime, () =>
    fill({ shape: [batch, stored, kvHeads, D], value: 0, dtype: k.dtype }),
  );
  const blocks: Tensor[] = [];
  for (let from = 0; from < Tk; from += D) {
    const block = scope(() => {
      const unit = new Float32Array(stored * D);
      for (let c = 0; c < Math.min(D, Tk - from); c++) unit[(from + c) * D + c] = 1;
      const v = add(zeros, tensor(unit, [1, stored, 1, D], { dtype: k.dtype, runtime: k.runtime }));
      const operands = inputs.map((t, i) => (i === 2 ? v : t));
      return record(op, operands, { ...attrs, entropy: false })[0]!;
    });
    blocks.push(block);
  }
  const all = blocks.length === 1 ? blocks[0]! : concat(blocks, { axis: 3 });
  const weights = permute(slice(all, { ends: [...all.shape.slice(0, 3), Tk] }), { axes: [0, 2, 1, 3] });
  return wide(weights);
}

/** q, k and v apart. */
function unpacked(sweep: Sweep): Sweep {
  const { inputs, attrs } = sweep;
  if (!('heads' in attrs)) return sweep;
  const [Hq, Hkv] = packedHeads(attrs);
  const { causal, window, alibi, scale, score } = attrs;
  const [qkv, ...rest] = inputs as [Tensor, ...Tensor[]];
  const parts = [
    [0, Hq],
    [Hq, Hq + Hkv],
    [Hq + Hkv, Hq + 2 * Hkv],
  ].map(([from, to]) => slice(qkv, { starts: [0, 0, from!], ends: [...qkv.shape.slice(0, 2), to!] }));
  return {
    op: attention.op as unknown as Op,
    inputs: [...parts, ...rest],
    attrs: { causal, window, alibi, scale, score, entropy: false, keys: 0 },
  };
}

// ---------------------------------------------------------------- of weights

/** -Σ w ln w of the last axis; 0 ln 0 = 0. */
const entropyOf = (weights: Tensor): Tensor =>
  mul(sum(mul(weights, log(maximum(weights, 1e-30))), { axis: -1 }), -1);

/** Some heads of weights [B, H, T, Tk]. */
function chosen(weights: Tensor, heads: readonly number[]): Tensor {
  const [batch, , length, keys] = weights.shape as [number, number, number, number];
  const parts = heads.map((h) => slice(weights, { starts: [0, h], ends: [batch, h + 1, length, keys] }));
  return parts.length === 1 ? parts[0]! : concat(parts, { axis: 1 });
}

export function meansOf(rows: Float32Array, [batch, heads, length]: RowShape): Float64Array {
  const means = new Float64Array(heads);
  rows.forEach((h, i) => {
    means[Math.floor(i / length) % heads]! += h / (batch * length);
  });
  return means;
}

/** Mean over queries of the logarithm of how many keys each may see; a padding mask is not looked at. */
export function uniformOf(order: Parameters<typeof visibleKeys>[0]): number {
  let total = 0;
  for (let i = 0; i < order.Tq; i++) {
    const [from, to] = visibleKeys(order, i);
    total += Math.log(Math.max(1, to - from));
  }
  return order.Tq > 0 ? total / order.Tq : 0;
}
