/**
 * Linear attention on Vulkan (shaders/linear_attention_*.comp): what each chunk of tokens adds to the state, the states
 * between chunks, then all outputs at once. A gradient does the same from both ends. No kernel waits for another
 * invocation, so that the same plan serves every device.
 */
import type { Bind, Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { dtypeCode, perWord } from '../tensor/dtype.js';
import type { GpuVariant } from './contract.js';
import { loneGroup, overBinding, overTurns, Scratch, widenedBytes } from './launch.js';
import {
  type LinearAttentionAttrs,
  type LinearProblem,
  type LinearSizes,
  sizesOf,
} from './linear-attention.common.js';

/** Tokens of a chunk: shaders/linear_attention_scores.comp. States take Dk Dv / CHUNK elements a token. */
const CHUNK = 32;
/** Tokens and channels of a tile: shaders/lib/linear_attention_tile.glsl. */
const [ROWS, COLUMNS] = [4, 16];

/** Where the operands of a problem are. */
interface Walk extends LinearSizes {
  q: number;
  k: number;
  v: number;
  state: number | undefined;
  decay: number | undefined;
}

function walk({ inputs }: LinearProblem, q: number): Walk {
  const given = (i: number) => (inputs[i] ? i : undefined);
  const v = q + 2;
  return { ...sizesOf(inputs[q]!, inputs[v]!), q, k: q + 1, v, state: given(v + 1), decay: given(v + 2) };
}

const chunksOf = ({ T }: LinearSizes): number => Math.ceil(T / CHUNK);

/** Bytes of scratch: of the states of all chunks, of products of a chunk's tokens, of q in float32, of one state. */
const bytesOf = (w: LinearSizes) => {
  const heads = w.B * w.H;
  return {
    states: 4 * heads * chunksOf(w) * w.Dk * w.Dv,
    pairs: 4 * heads * w.T * CHUNK,
    keys: 4 * heads * w.T * w.Dk,
    products: 4 * heads * chunksOf(w) * w.Dk,
    state: 4 * heads * w.Dk * w.Dv,
  };
};

const read = (operand: number): Bind => ({ operand, write: false });
const write = (operand: number): Bind => ({ operand, write: true });

/** The launches of a problem, and the scratch buffers that they add. */
class Plan {
  readonly #dispatches: Dispatch[] = [];
  readonly #scratch: Scratch;
  readonly #dtype: number;
  readonly #bytes: ReturnType<typeof bytesOf>;
  /** q decayed since its chunk began, k decayed until it ends: float32. Without decays they are q and k. */
  readonly q: number;
  readonly k: number;
  readonly #decayed: number;
  /** Factors of decays, and their products over chunks; without decays, something that is there. */
  readonly factors: number;
  readonly #products: number;

  constructor(
    readonly problem: LinearProblem,
    readonly w: Walk,
    readonly caps: Caps,
  ) {
    this.#dtype = dtypeCode[problem.inputs[w.q]!.dtype];
    this.#bytes = bytesOf(w);
    this.#scratch = new Scratch(problem);
    this.q = this.factors = this.#products = w.q;
    this.k = w.k;
    this.#decayed = this.#dtype;
    if (w.decay === undefined) return;
    this.#decayed = dtypeCode.float32;
    this.factors = this.#add('keys');
    this.q = this.#add('keys');
    this.k = this.#add('keys');
    this.#products = this.#add('products');
    const written = [this.factors, this.q, this.k, this.#products].map(write);
    this.launch('decay', w.B * chunksOf(w) * w.H * w.Dk, [w.decay, w.q, w.k].map(read), written);
  }

  #add = (what: keyof ReturnType<typeof bytesOf>): number => this.#scratch.add(this.#bytes[what]);

  /** A state that nobody asked for. */
  unread = (): number => this.#add('state');

  /** float32 in the place of an output, which `finish` narrows into it. */
  widened = (operand: number): number => this.#scratch.widened(operand);

  /** Specialisation constants: see shaders/lib/linear_attention.glsl. */
  launch(
    kernel: string,
    units: number,
    inputs: readonly Bind[],
    outputs: readonly Bind[],
    own: Own = {},
  ): void {
    const { w } = this;
    const size = loneGroup(this.caps);
    this.#dispatches.push({
      shader: `linear_attention_${kernel}`,
      spec: [
        size,
        this.#dtype,
        own.other ?? this.#dtype,
        Number(w.decay !== undefined),
        Number(w.Dk % 4 === 0 && w.Dv % 4 === 0),
        Number(own.back ?? false),
        own.last ?? 0,
      ],
      push: [units, w.B * w.H, w.T, w.H, w.Dk, w.Dv, CHUNK, chunksOf(w)],
      groups: Math.ceil(units / size),
      binds: [...inputs, ...outputs],
    });
  }

  /**
   * The states before each chunk, from `start` to `last`, of keys and values; or back, the gradients of the states
   * after each, of queries and dy.
   */
  states(x: number, y: number, start: number | undefined, last: number, back = false): number {
    const { w } = this;
    const states = this.#add('states');
    const tiles = Math.ceil(w.Dk / ROWS) * Math.ceil(w.Dv / COLUMNS);
    this.launch('states', w.B * w.H * chunksOf(w) * tiles, [x, y].map(read), [write(states)], {
      other: this.#decayed,
    });
    const carried = [read(start ?? w.q), read(this.#products)];
    const own = { back, last: Number(start !== undefined) };
    this.launch('carry', w.B * w.H * w.Dk * w.Dv, carried, [write(states), write(last)], own);
    return states;
  }

  /** Products of the tokens of each chunk: of x and y, which are dy and v where it goes back. */
  dots(x: number, y: number, back: boolean): number {
    const { B, H, T } = this.w;
    const pairs = this.#add('pairs');
    const tiles = (B * H * Math.ceil(T / ROWS) * CHUNK) / ROWS;
    this.launch('dots', tiles, [x, y].map(read), [write(pairs)], { back });
    return pairs;
  }

  /** Products of queries and keys, decayed in between. */
  scores(): number {
    const { B, H, T, q, k, decay } = this.w;
    if (decay === undefined) return this.dots(q, k, false);
    const pairs = this.#add('pairs');
    this.launch('scores', B * H * T, [q, k, this.factors].map(read), [write(pairs)]);
    return pairs;
  }

  /** o, or dv where it goes back. */
  values(x: number, y: number, pairs: number, states: number, to: number, wide: boolean, back = false): void {
    const units = this.#tiles(this.w.Dv);
    const own = { back, other: wide ? dtypeCode.float32 : this.#dtype, last: this.#decayed };
    this.launch('values', units, [x, y, pairs, states].map(read), [write(to)], own);
  }

  /** dq, or dk where it goes back. */
  keys(x: number, y: number, pairs: number, states: number, to: number, wide: boolean, back = false): void {
    const own = { back, other: wide ? dtypeCode.float32 : this.#dtype };
    const inputs = [x, y, this.factors, pairs, states].map(read);
    this.launch('keys', this.#tiles(this.w.Dk), inputs, [write(to)], own);
  }

  finish(): GpuPlan {
    const dispatches = [...this.#dispatches, ...this.#scratch.narrow(this.caps)];
    return { dispatches: dispatches.filter(({ groups }) => groups > 0), scratch: this.#scratch.bytes };
  }

  #tiles = (channels: number): number =>
    this.w.B * this.w.H * Math.ceil(this.w.T / ROWS) * Math.ceil(channels / COLUMNS);
}

/** What sets a launch apart. */
interface Own {
  back?: boolean;
  /** The dtype OTHER. */
  other?: number;
  /** The kernel's own constant. */
  last?: number;
}

/**
 * Whether results are written as float32 and narrowed: rows of an odd number of halves end within a word, and the
 * gradient of decays is a difference of dq and dk, of which halves would leave too little.
 */
const wideResults = ({ inputs }: LinearProblem, w: Walk, back: boolean): boolean =>
  perWord(inputs[w.q]!.dtype) === 2 && (w.Dk % 2 === 1 || w.Dv % 2 === 1 || (back && w.decay !== undefined));

function planForward(problem: LinearProblem, caps: Caps): GpuPlan {
  const w = walk(problem, 0);
  if (w.B * w.H === 0) return { dispatches: [] };
  const plan = new Plan(problem, w, caps);
  const out = problem.inputs.length;
  const states = plan.states(plan.k, w.v, w.state, out + 1);
  const wide = wideResults(problem, w, false);
  plan.values(plan.q, w.v, plan.scores(), states, wide ? plan.widened(out) : out, wide);
  return plan.finish();
}

function planBackward(problem: LinearProblem, caps: Caps): GpuPlan {
  const w = walk(problem, 2);
  if (w.B * w.H === 0) return { dispatches: [] };
  const plan = new Plan(problem, w, caps);
  const [dy, dfinal, out] = [0, 1, problem.inputs.length];
  const wide = wideResults(problem, w, true);
  const target = (operand: number) => (wide ? plan.widened(operand) : operand);
  const [dq, dk, dv] = [target(out), target(out + 1), target(out + 2)];
  const final = plan.unread();
  const states = plan.states(plan.k, w.v, w.state, final);
  const weights = plan.dots(dy, w.v, true);
  plan.keys(w.k, dy, weights, states, dq, wide);
  const dstates = plan.states(plan.q, dy, dfinal, w.state === undefined ? plan.unread() : out + 3, true);
  plan.keys(w.q, w.v, weights, dstates, dk, wide, true);
  plan.values(plan.k, dy, plan.scores(), dstates, dv, wide, true);
  if (w.decay !== undefined) {
    const inputs = [w.q, w.k, dq, dk, states, final, dstates].map(read);
    plan.launch('ddecay', w.B * chunksOf(w) * w.H * w.Dk, inputs, [write(out + 4)]);
  }
  return plan.finish();
}

/** What keeps a problem from the device: operands and scratch that bindings hold, loops that drivers end. */
function refusal(problem: LinearProblem, w: Walk, back: boolean, caps: Caps): string | null {
  const over = overBinding([...problem.inputs, ...problem.outputs], caps);
  if (over) return over;
  const wide = wideResults(problem, w, back) ? problem.outputs.map(widenedBytes) : [];
  if (Math.max(...Object.values(bytesOf(w)), ...wide) > caps.maxBindingBytes)
    return `its scratch takes more than a binding of ${caps.maxBindingBytes} bytes`;
  return overTurns(
    Math.max(chunksOf(w), (CHUNK + 1) * Math.ceil(Math.max(w.Dk, w.Dv) / 4) + 2 * CHUNK),
    caps,
  );
}

const variant = (
  at: number,
  plan: (problem: LinearProblem, caps: Caps) => GpuPlan,
): GpuVariant<LinearAttentionAttrs> => ({
  name: 'chunks',
  admits: (problem, caps) => refusal(problem, walk(problem, at), at > 0, caps),
  plan,
});

export const linearAttentionVariants = [variant(0, planForward)];
export const linearAttentionBackwardVariants = [variant(2, planBackward)];
