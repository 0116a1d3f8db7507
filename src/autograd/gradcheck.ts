/**
 * Gradients proved in Float64: `gradcheck` runs a function, its gradient and central differences of it on the ops'
 * references, so that an error of 1e-6 shows a wrong formula and not the rounding of a kernel.
 */
import type { Op, Operand, Problem } from '../ops/contract.js';
import { inputSpec, observer, problemOf } from '../ops/record.js';
import { ArgumentError, GradError } from '../runtime/errors.js';
import { runtime as currentRuntime, type Runtime } from '../runtime/runtime.js';
import { decode, isFloat } from '../tensor/dtype.js';
import { scope } from '../tensor/scope.js';
import { describe, type Shape, type Spec, spec } from '../tensor/shape.js';
import { type Storage, Tensor } from '../tensor/tensor.js';
import { backward } from './backward.js';
import { leafOf, setRequiresGrad } from './leaf.js';
import { enableGrad, noGrad } from './modes.js';

export interface GradcheckOptions {
  /** Relative step of the differences. */
  step?: number;
  /** Allowed error, relative to max(1, |difference|). */
  tolerance?: number;
  /** Elements of each input that are moved; all of a smaller one. */
  samples?: number;
}

export interface GradcheckReport {
  /** Elements compared. */
  compared: number;
  /** The largest error relative to max(1, |difference|). */
  worst: number;
}

/** Float64 values behind the tensors of the interpreter. */
type Values = WeakMap<Storage, Float64Array>;

/**
 * Compares the gradient of `fn` at `inputs` with central differences, both in Float64, and throws a GradError that
 * names the first element that differs. Integer inputs are not moved. fn is made of ops alone, and smooth there.
 */
export function gradcheck(
  fn: (...inputs: Tensor[]) => Tensor,
  inputs: readonly Tensor[],
  options: GradcheckOptions = {},
): GradcheckReport {
  const { step = 1e-5, tolerance = 1e-6, samples = 32 } = options;
  const op = 'gradcheck';
  if (typeof fn !== 'function' || !Array.isArray(inputs) || !inputs.every((t) => t instanceof Tensor))
    throw new ArgumentError(`expected a function and tensors but got ${describe(fn)}, ${describe(inputs)}`, {
      op,
      hint: 'gradcheck((x, y) => …, [x, y])',
    });
  if (inputs.length === 0)
    throw new ArgumentError('there are no inputs to move', { op, hint: 'gradcheck((x, y) => …, [x, y])' });
  const at = inputs.map((t) => decode(t.dtype, t.dataSync()));
  const wanted = inputs.map((t) => t.edge !== undefined || isFloat(t.dtype));
  const interpreter = new Interpreter(inputs[0]?.runtime);
  /** fn's values at some inputs, and the gradients of Σ weight · value where they are asked for. */
  const run = (values: readonly Float64Array[], gradients: boolean) =>
    interpreter.run(() => {
      const leaves = values.map((v, i) => interpreter.make(inputs[i]!.spec, v));
      if (!gradients) return { y: interpreter.values(noGrad(() => fn(...leaves))), grads: [] };
      return enableGrad(() => {
        leaves.forEach((leaf, i) => {
          if (wanted[i]) setRequiresGrad(leaf, true);
        });
        const y = fn(...leaves);
        const weights = Float64Array.from({ length: y.size }, (_, i) => weight(i));
        if (y.edge) backward(y, interpreter.make(y.spec, weights));
        const grads = leaves.map((leaf) => {
          const grad = leafOf(leaf)?.grad;
          return grad ? interpreter.values(grad) : new Float64Array(leaf.size);
        });
        return { y: interpreter.values(y), grads };
      });
    });

  const { grads } = run(at, true);
  const report: GradcheckReport = { compared: 0, worst: 0 };
  for (const [i, values] of at.entries()) {
    if (!wanted[i]) continue;
    const stride = Math.max(1, Math.floor(values.length / samples));
    for (let e = 0; e < values.length; e += stride) {
      const h = step * Math.max(1, Math.abs(values[e]!));
      const moved = (by: number) => {
        const copy = Float64Array.from(values);
        copy[e]! += by;
        return run(
          at.map((v, k) => (k === i ? copy : v)),
          false,
        ).y;
      };
      const [above, below] = [moved(h), moved(-h)];
      const difference = above.reduce((s, v, k) => s + ((v - below[k]!) * weight(k)) / (2 * h), 0);
      const error = Math.abs(grads[i]![e]! - difference) / Math.max(1, Math.abs(difference));
      report.compared++;
      if (!(error <= report.worst)) report.worst = error;
      if (!(error <= tolerance))
        throw new GradError(
          `element ${e} of input ${i}: the gradient is ${grads[i]![e]}, the difference ${difference}`,
          { op, hint: `their error ${error} is above ${tolerance}; is the function smooth there?` },
        );
    }
  }
  return report;
}

/**
 * The values of `fn`, which is made of ops alone, computed in Float64 on their references: where a formula must be right
 * to more digits than float32 has.
 */
export function inFloat64(
  fn: (...inputs: Tensor[]) => Tensor,
  inputs: readonly { shape: Shape; values: ArrayLike<number> }[],
): Float64Array {
  const interpreter = new Interpreter(currentRuntime());
  return interpreter.run(() => {
    const leaves = inputs.map((x) => interpreter.make(spec(x.shape, 'float32'), Float64Array.from(x.values)));
    return interpreter.values(noGrad(() => fn(...leaves)));
  });
}

/** Fixed weights that no symmetry of a function cancels. */
const weight = (i: number): number => Math.sin(1 + 1.7 * i) + 0.3;

/** Runs calls on their Float64 references. Its tensors have shapes and dtypes, but no bytes on any side. */
class Interpreter {
  readonly #values: Values = new WeakMap();
  constructor(readonly runtime: Runtime | undefined) {}

  run<T>(fn: () => T): T {
    const before = observer.interpret;
    observer.interpret = (op, operands, attrs) => this.#call(op, operands, attrs);
    try {
      return scope(fn);
    } finally {
      observer.interpret = before;
    }
  }

  make(of: Spec, values: Float64Array): Tensor {
    const runtime = this.runtime!;
    const tensor = new Tensor(of, { runtime, buffer: runtime.newBuffer(of.bytes) });
    this.#values.set(tensor.storage('gradcheck', 'x'), values);
    return tensor;
  }

  values(tensor: Tensor): Float64Array {
    const values = this.#values.get(tensor.storage('gradcheck', 'x'));
    if (values) return values;
    // A constant that fn closes over: its bytes are real.
    const { interpret } = observer;
    observer.interpret = undefined;
    try {
      return decode(tensor.dtype, tensor.dataSync());
    } finally {
      observer.interpret = interpret;
    }
  }

  #call(op: Op, operands: readonly Operand[], attrs: object | undefined): Tensor[] {
    const tensor = (o: Operand): o is Tensor => o instanceof Tensor;
    // The dtype of a number beside tensors is theirs, not that of a condition.
    const like =
      operands.find((o, i): o is Tensor => tensor(o) && !inputSpec(op, i).dtype) ?? operands.find(tensor);
    const tensors = operands.map((o, i) =>
      o instanceof Tensor
        ? o
        : this.make(spec([], inputSpec(op, i).dtype ?? like!.dtype), Float64Array.of(o as number)),
    );
    if (op.updates) observer.changing?.(op, tensors);
    const problem = problemOf(
      op,
      tensors.map((t) => t.spec),
      { ...op.attrs, ...attrs },
    ) as Problem<object>;
    const results = op.reference(
      tensors.map((t) => this.values(t)),
      problem,
    );
    const outputs = problem.outputs.map((s, i) => this.make(s, results[i]!));
    for (const [k, i] of (op.updates ?? []).entries())
      this.values(tensors[i]!).set(results[outputs.length + k]!);
    if (tensors.some((t) => t.edge)) observer.recorded?.(op, problem, tensors, outputs);
    return outputs;
  }
}
