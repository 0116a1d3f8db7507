/**
 * The op contract: one object says everything about an op. Tests, benchmarks, the router and the tape read it;
 * nothing else holds a list of ops.
 */
import type { Caps, Cost, CpuPlan, GpuPlan } from '../runtime/binding.js';
import type { DType } from '../tensor/dtype.js';
import { type Shape, type Spec, show } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';

/** A tensor, or a number that becomes a scalar of the other operand's dtype. */
export type Operand = Tensor | number;

/** One call of an op, resolved: what the reference, both backends and the cost model see. */
export interface Problem<A = unknown> {
  readonly inputs: readonly Spec[];
  readonly outputs: readonly Spec[];
  readonly attrs: A;
}

export interface InputSpec {
  name: string;
  /** Fixed dtype; otherwise the input takes the call's dtype, one of the op's `dtypes`. */
  dtype?: DType;
  /** Or one of these, whatever the call's: a mask of bools or floats, fp32 weights of a norm of halves. */
  dtypes?: readonly DType[];
  /** Floats that no gradient flows into (a table of angles): `backward` gives null, or refuses where one is wanted. */
  constant?: boolean;
  /** Sample values are drawn uniformly from here (integers for integer dtypes). Default [-3, 3]. */
  domain?: readonly [number, number];
}

/** A case that conformance, benchmarks and start-up self-tests walk. */
export interface Sample<A> {
  /** Shape of each input given. */
  shapes: readonly Shape[];
  attrs?: Partial<A>;
  /** Overrides of the inputs' domains, in input order. */
  domains?: readonly (readonly [number, number])[];
  /** Only for these dtypes. Default: all of the op's. */
  dtypes?: readonly DType[];
  /** dtypes of single inputs among those that `InputSpec.dtypes` allows. Default: the first of them. */
  inputDTypes?: readonly (DType | undefined)[];
  /** Large (over 65535 rows, over a binding): walked by conformance, never as a self-test. */
  heavy?: boolean;
}

/** A way to run on the GPU. The first that admits and prefers a problem runs it; else the last that admits it. */
export interface GpuVariant<A> {
  name: string;
  /** Can it run at all? null, or the reason why not. */
  admits(problem: Problem<A>, caps: Caps): string | null;
  /** Is it worth it here? Policy, apart from legality; without it, always. */
  prefers?(problem: Problem<A>, caps: Caps): boolean;
  plan(problem: Problem<A>, caps: Caps): GpuPlan;
}

/**
 * A tensor as a backward formula sees it. Formulas call the other ops through `F`, never as methods, so that op
 * files depend neither on each other nor on the methods that ops/methods.ts derives from them.
 */
export interface Value {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly rank: number;
  readonly size: number;
  reshape(shape: Shape): Value;
}

/** The other ops, by export name. */
// biome-ignore lint/suspicious/noExplicitAny: each op has its own signature
export type OpTable = Readonly<Record<string, (...args: any[]) => Value>>;

export interface BackwardContext<A> {
  /** Gradient of the loss by each output; undefined where the loss does not depend on it. Never all of them are. */
  grads: readonly (Value | undefined)[];
  /** Whose gradient is wanted, by input: what nobody needs is not computed, and null is returned in its place. */
  needs: readonly boolean[];
  /** What is known already of each input's gradient, for ops that add it themselves: see `accumulates`. */
  pending: readonly (Value | undefined)[];
  /** Inputs and outputs that `saves` names, at their places; the others are gone. */
  inputs: readonly (Value | undefined)[];
  outputs: readonly (Value | undefined)[];
  attrs: A;
  /** Shapes and dtypes of all operands, saved or not. */
  problem: Problem<A>;
  F: OpTable;
}

export interface OpDefinition<A extends object> {
  name: string;
  /** One line for the op table in the docs: the formula. */
  doc: string;
  inputs: readonly (string | InputSpec)[];
  /** The call takes a list: inputs beyond the listed ones repeat the last (concat). */
  variadic?: boolean;
  /** How many of the last inputs may be left out (matmul's bias). */
  optional?: number;
  /**
   * How many of the outputs a call returns: 1 (the default) as a tensor, several as a tuple, 0 as nothing. Outputs
   * beyond them are for `backward` alone (a norm's mean, attention's log-sum-exp) and end with the call otherwise.
   */
  results?: number;
  /**
   * Inputs that the op changes in place, for optimisers. `reference` returns their new values after the outputs; a
   * CPU kernel finds them after the outputs in `out`; GPU plans bind them with `write: true`. No gradient flows.
   */
  updates?: readonly number[];
  /**
   * An update that cannot be made for want of an input fails its target too: a sum that lacks a share is wrong. Default:
   * the target stays what it was, as parameters do.
   */
  spoils?: boolean;
  /**
   * Under autocast, inputs of free dtype become: 'half' the chosen half, where the time goes into products; 'widest'
   * the widest dtype among them. Default: what they are.
   */
  autocast?: 'half' | 'widest';
  /** A gradient or an optimiser's step: exported and tested like every op, but no method of tensors. */
  internal?: boolean;
  /** Attributes with their defaults. */
  attrs: A;
  /** dtypes of the free inputs (or of the output where there are none): conformance walks them. */
  dtypes: readonly DType[];
  /** Shapes and dtype of the outputs; throws ShapeError / DTypeError / ArgumentError naming the op. */
  infer(inputs: readonly Spec[], attrs: A): readonly Spec[];
  /** Float64, slow and obvious: the oracle. */
  reference(inputs: readonly Float64Array[], problem: Problem<A>): readonly Float64Array[];
  cpu(problem: Problem<A>): CpuPlan;
  gpu: readonly GpuVariant<A>[];
  cost(problem: Problem<A>): Cost;
  /** Gradient of each input; null where none flows. */
  backward?(context: BackwardContext<A>): readonly (Value | null)[];
  /**
   * Inputs for which `backward` returns its own share plus `pending`, which saves a pass where a kernel can add as it
   * goes (a norm in a residual stream). For the others the tape adds.
   */
  accumulates?: readonly number[];
  /**
   * Makes the first output again from what `saves` names, for ops whose output costs more to keep than to compute
   * (an activation, a norm): the tape lets it go although another gradient reads it. `can` tells of which problems.
   */
  recompute?: {
    can(problem: Problem<A>): boolean;
    run(context: Pick<BackwardContext<A>, 'inputs' | 'outputs' | 'attrs' | 'problem' | 'F'>): Value;
  };
  /** What backward (and recompute) reads: the tape holds exactly these. */
  saves?: { inputs?: readonly number[]; outputs?: readonly number[] };
  samples: readonly Sample<A>[];
  /** Allowed error relative to max(1, |reference|) in fp32; halves widen by their own epsilon. Default 1e-5. */
  tolerance?: number | ((problem: Problem<A>) => number);
  /** Calls that must fail, beyond the generic ones, with the code that each must raise. */
  invalid?: readonly {
    shapes: readonly Shape[];
    attrs?: Partial<A>;
    /** Of each input; the last repeats. Default: the first of the op's. */
    dtypes?: readonly DType[];
    code: string;
  }[];
}

/** A completed definition: what registries hold. */
export interface Op<A extends object = object> extends OpDefinition<A> {
  /** `inputs`, the names filled out. */
  readonly inputSpecs: readonly InputSpec[];
  /** Place of the op's prepared problems in a runtime's memo (record.ts). */
  readonly id: number;
}

/** The problem in words, for errors, `explain()` and benchmarks. */
export function showProblem(problem: Problem): string {
  const inputs = problem.inputs.map((s) => show(s.shape, s.dtype)).join(' ');
  const attrs = Object.entries(problem.attrs as object).map(
    ([k, v]) => `${k}=${typeof v === 'object' ? JSON.stringify(v) : v}`,
  );
  return [inputs || problem.outputs.map((s) => show(s.shape, s.dtype)).join(' '), ...attrs].join(' ');
}
