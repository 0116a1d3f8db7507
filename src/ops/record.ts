/**
 * From an op call to an instruction: checks the operands, finds or makes the prepared op, appends its number.
 * A prepared op is made once for an op, the specs of its inputs, and its attributes, on each runtime.
 */
import type { Caps, OperandInfo, Prepared } from '../runtime/binding.js';
import { ArgumentError, AttnError, DeviceError, DTypeError } from '../runtime/errors.js';
import { runtime as currentRuntime, type Runtime } from '../runtime/runtime.js';
import { type DType, dtypeCode, encode, isFloat } from '../tensor/dtype.js';
import { describe, type Spec, show, spec } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import {
  type GpuVariant,
  type InputSpec,
  type Op,
  type Operand,
  type Problem,
  type Sample,
  showProblem,
} from './contract.js';

/** Prepared problems kept for each op: attributes that change at every call (a seed) must not fill the memory. */
const MEMO_LIMIT = 1024;

interface Entry {
  prepared: number;
  problem: Problem;
}

/** What autograd sees of calls, and what it may do to them: src/autograd fills this in. */
export interface Observer {
  /** Runs a call in another way altogether: gradcheck's Float64 references. */
  interpret: ((op: Op, operands: readonly Operand[], attrs: object | undefined) => Tensor[]) | undefined;
  /** The operands as they should be: autocast's dtypes. */
  convert: ((op: Op, operands: readonly Operand[]) => readonly Operand[]) | undefined;
  /** Told of calls with an operand in the graph of gradients; of every call where `watchAll`. */
  recorded:
    | ((op: Op, problem: Problem, inputs: readonly Tensor[], outputs: readonly Tensor[]) => void)
    | undefined;
  /** Asked before an op changes tensors in place: throws where one is in the graph of gradients. */
  changing: ((op: Op, inputs: readonly Tensor[]) => void) | undefined;
  watchAll: boolean;
}

export const observer: Observer = {
  interpret: undefined,
  convert: undefined,
  recorded: undefined,
  changing: undefined,
  watchAll: false,
};

/** Runs an op on its operands and returns its outputs. */
export function record(op: Op, given: readonly Operand[], attrs: object | undefined): Tensor[] {
  if (observer.interpret) return observer.interpret(op, given, attrs);
  const operands = observer.convert ? observer.convert(op, given) : given;
  for (let i = 0; i < operands.length; i++)
    if (!(operands[i] instanceof Tensor)) return recordNumbers(op, operands, attrs);
  return recordTensors(op, operands as readonly Tensor[], attrs);
}

function recordTensors(op: Op, tensors: readonly Tensor[], attrs: object | undefined): Tensor[] {
  const runtime =
    tensors.length > 0 ? tensors[0]!.storage(op.name, inputSpec(op, 0).name).runtime : currentRuntime();
  const buffers = new Array<number>(tensors.length);
  let tracked = observer.watchAll;
  let key: string | number;
  if (tensors.length === 0) key = '';
  else if (tensors.length === 1) key = tensors[0]!.spec.id;
  else if (tensors.length === 2) key = tensors[0]!.spec.id * 0x4000000 + tensors[1]!.spec.id;
  else key = tensors.map((t) => t.spec.id).join();
  if (attrs) key = `${key}|${JSON.stringify(attrs, exact)}`;
  for (let i = 0; i < tensors.length; i++) {
    const storage = tensors[i]!.storage(op.name, inputSpec(op, i).name);
    if (storage.runtime !== runtime)
      throw new DeviceError(
        `'${inputSpec(op, i).name}' belongs to another runtime than '${inputSpec(op, 0).name}'`,
        {
          op: op.name,
          hint: 'read it with data() and make a tensor of it there',
        },
      );
    buffers[i] = storage.buffer;
    if (tensors[i]!.edge) tracked = true;
  }
  if (op.updates && tracked) observer.changing?.(op, tensors);
  runtime.firstUse();
  const memo = (runtime.memo[op.id] ??= new Map()) as Map<string | number, Entry>;
  let entry = memo.get(key);
  if (!entry) {
    entry = makeEntry(
      op,
      tensors.map((t) => t.spec),
      { ...op.attrs, ...attrs },
      runtime,
    );
    memo.set(key, entry);
    if (memo.size > MEMO_LIMIT) {
      const [oldest, evicted] = memo.entries().next().value!;
      memo.delete(oldest);
      runtime.forget(evicted.prepared);
    }
  }
  const { outputs } = entry.problem;
  const results = new Array<Tensor>(outputs.length);
  for (let i = 0; i < outputs.length; i++) {
    const out = outputs[i]!;
    const buffer = runtime.newBuffer(out.bytes);
    buffers.push(buffer);
    results[i] = new Tensor(out, { runtime, buffer });
  }
  runtime.record(entry.prepared, buffers);
  if (tracked) observer.recorded?.(op, entry.problem, tensors, results);
  if (op.updates) for (const i of op.updates) tensors[i]!.storage(op.name, inputSpec(op, i).name).changed();
  return results;
}

/** Keeps apart what JSON would make equal: NaN, the infinities, -0. */
const exact = (_key: string, value: unknown): unknown =>
  typeof value === 'number' && (!Number.isFinite(value) || Object.is(value, -0))
    ? `${1 / value}|${value}`
    : value;

/** The problem of a call: checked dtypes, inferred outputs. What conformance and benchmarks resolve samples with. */
export function problemOf(op: Op, inputs: readonly Spec[], attrs: object): Problem {
  checkDTypes(op, inputs, attrs);
  return { inputs, outputs: op.infer(inputs, attrs), attrs };
}

/** What an op says of an input; a list's tail repeats its last. */
export const inputSpec = (op: Op, index: number): InputSpec =>
  op.inputSpecs[Math.min(index, op.inputSpecs.length - 1)] ?? { name: 'x' };

/** The dtype and value range of each input of a sample at a dtype. */
export function sampleInputs(
  op: Op,
  sample: Sample<object>,
  dtype: DType,
): { spec: Spec; domain: readonly [number, number] }[] {
  return sample.shapes.map((shape, i) => {
    const input = inputSpec(op, i);
    return {
      spec: spec(shape, sample.inputDTypes?.[i] ?? input.dtype ?? input.dtypes?.[0] ?? dtype),
      domain: sample.domains?.[i] ?? input.domain ?? [-3, 3],
    };
  });
}

// ---------------------------------------------------------------- operands

/** Numbers become scalars, which live as long as the call. */
function recordNumbers(op: Op, operands: readonly Operand[], attrs: object | undefined): Tensor[] {
  const given = (o: Operand): o is Tensor => o instanceof Tensor;
  // A number takes its dtype from a tensor whose own is free: not from where()'s condition.
  const free = (o: Operand, i: number): o is Tensor => given(o) && !inputSpec(op, i).dtype;
  const like = operands.find(free) ?? operands.find(given);
  for (const [i, operand] of operands.entries())
    if (!given(operand) && (typeof operand !== 'number' || !like))
      throw new ArgumentError(`'${inputSpec(op, i).name}' must be a tensor but is ${describe(operand)}`, {
        op: op.name,
        hint: 'make one with tensor(values)',
      });
  const { runtime } = like!.storage(op.name, inputSpec(op, operands.indexOf(like!)).name);
  const scalars: Tensor[] = [];
  try {
    const tensors = operands.map((operand, i) => {
      if (given(operand)) return operand;
      const scalar = spec([], inputSpec(op, i).dtype ?? like!.dtype);
      const made = new Tensor(scalar, { runtime, buffer: runtime.upload(encode(scalar.dtype, [operand])) });
      scalars.push(made);
      return made;
    });
    return recordTensors(op, tensors, attrs);
  } finally {
    for (const scalar of scalars) scalar.dispose();
  }
}

function checkDTypes(op: Op, inputs: readonly Spec[], attrs: object): void {
  let first = -1;
  inputs.forEach((input, i) => {
    const { name, dtype, dtypes = dtype ? [dtype] : undefined } = inputSpec(op, i);
    if (dtypes) {
      if (!dtypes.includes(input.dtype))
        throw new DTypeError(
          `'${name}' must be ${dtypes.join(' or ')} but is ${show(input.shape, input.dtype)}`,
          { op: op.name, hint: `cast it: cast(${name}, { dtype: '${dtypes[0]}' })` },
        );
      return;
    }
    if (!op.dtypes.includes(input.dtype))
      throw new DTypeError(`'${name}' is ${show(input.shape, input.dtype)}, which ${op.name} does not take`, {
        op: op.name,
        hint: `it takes ${op.dtypes.join(', ')}: cast first`,
      });
    if (first < 0) first = i;
    const expected = inputs[first]!;
    if (input.dtype !== expected.dtype)
      throw new DTypeError(
        `'${name}' is ${show(input.shape, input.dtype)} but '${inputSpec(op, first).name}' is ${show(expected.shape, expected.dtype)}`,
        { op: op.name, hint: 'dtypes never mix by themselves: cast one of them' },
      );
  });
  const wanted = (attrs as { dtype?: unknown }).dtype;
  if (inputs.length === 0 && wanted !== undefined && !op.dtypes.includes(wanted as DType))
    throw new DTypeError(`dtype ${String(wanted)} is not one that ${op.name} makes`, {
      op: op.name,
      hint: `it makes ${op.dtypes.join(', ')}`,
    });
}

// ---------------------------------------------------------------- preparing

function makeEntry(op: Op, inputs: readonly Spec[], attrs: object, runtime: Runtime): Entry {
  try {
    const problem = problemOf(op, inputs, attrs);
    return { prepared: prepareProblem(op, problem, runtime), problem };
  } catch (error) {
    // What ops share (specs, say) does not know for whom it works.
    if (!(error instanceof AttnError) || error.op) throw error;
    throw error.of(op.name);
  }
}

/** Makes a problem ready on a runtime, outside the memo of calls. */
export function prepareProblem(op: Op, problem: Problem, runtime: Runtime): number {
  const domains = problem.inputs.map((_, i) => inputSpec(op, i).domain ?? ([-3, 3] as const));
  return prepare(op, problem, domains, runtime, undefined);
}

function prepare(
  op: Op,
  problem: Problem,
  domains: readonly (readonly [number, number])[],
  runtime: Runtime,
  forced: GpuVariant<object> | undefined,
): number {
  const typed = problem as Problem<object>;
  const dtype = (problem.inputs[0] ?? problem.outputs[0])!.dtype;
  const info = (s: Spec, domain: readonly [number, number]): OperandInfo => ({
    bytes: s.bytes,
    dtype: dtypeCode[s.dtype],
    low: domain[0],
    high: domain[1],
  });
  const variant =
    forced ?? (runtime.caps ? chooseVariant(op, typed, runtime.caps) : 'there is no Vulkan device');
  let gpu: Prepared['gpu'];
  let probe = { prepared: -1, tolerance: 0 };
  if (typeof variant === 'string') gpu = { reason: variant };
  else {
    const name = `${op.name}/${variant.name}/${dtype}`;
    gpu = { ...variant.plan(typed, runtime.caps!), variant: name };
    if (!forced) probe = probeOf(op, variant, name, dtype, runtime);
  }
  return runtime.prepare({
    op: op.name,
    problem: showProblem(problem),
    inputs: problem.inputs.map((s, i) => info(s, domains[i]!)),
    outputs: problem.outputs.map((s) => info(s, [0, 1])),
    updates: op.updates ?? [],
    spoils: op.spoils ?? false,
    cpu: op.cpu(typed),
    gpu,
    cost: op.cost(typed),
    dtype,
    probe: probe.prepared,
    probeTolerance: probe.tolerance,
  });
}

/** The first variant that can run the problem and is worth it; else the last that can; else why none can. */
export function chooseVariant(op: Op, problem: Problem<object>, caps: Caps): GpuVariant<object> | string {
  let fallback: GpuVariant<object> | undefined;
  let reason = `${op.name} has no GPU kernel`;
  for (const variant of op.gpu) {
    const refusal = variant.admits(problem, caps);
    if (refusal) {
      reason = `${variant.name}: ${refusal}`;
      continue;
    }
    if (!variant.prefers || variant.prefers(problem, caps)) return variant;
    fallback = variant;
  }
  return fallback ?? reason;
}

const probes = new WeakMap<Runtime, Map<string, { prepared: number; tolerance: number }>>();

/** The smallest odd sample that the same variant can run: what proves it on this driver before it is trusted. */
function probeOf(op: Op, variant: GpuVariant<object>, name: string, dtype: DType, runtime: Runtime) {
  let known = probes.get(runtime);
  if (!known) probes.set(runtime, (known = new Map()));
  let probe = known.get(name);
  if (probe) return probe;
  probe = { prepared: -1, tolerance: 0 };
  let best: { problem: Problem; inputs: ReturnType<typeof sampleInputs>; size: number } | undefined;
  for (const sample of op.samples) {
    if (sample.heavy || (sample.dtypes && !sample.dtypes.includes(dtype))) continue;
    const inputs = sampleInputs(op, sample, dtype);
    const attrs = {
      ...op.attrs,
      ...sample.attrs,
      ...(inputs.length === 0 && 'dtype' in op.attrs ? { dtype } : {}),
    };
    const problem = problemOf(
      op,
      inputs.map((i) => i.spec),
      attrs,
    );
    const size = Math.max(...problem.inputs.map((s) => s.size), ...problem.outputs.map((s) => s.size));
    if (size < 2 || [...problem.inputs, ...problem.outputs].some((s) => s.size === 0)) continue;
    if (best && (best.size <= 64 || size >= best.size)) continue;
    if (variant.admits(problem as Problem<object>, runtime.caps!) === null) best = { problem, inputs, size };
  }
  if (best)
    probe = {
      prepared: prepare(
        op,
        best.problem,
        best.inputs.map((i) => i.domain),
        runtime,
        variant,
      ),
      tolerance: toleranceOf(op, best.problem),
    };
  known.set(name, probe);
  return probe;
}

/** Error that an op may make against the Float64 reference, relative to max(1, |reference|). */
export function toleranceOf(op: Op, problem: Problem): number {
  const base =
    typeof op.tolerance === 'function' ? op.tolerance(problem as Problem<object>) : (op.tolerance ?? 1e-5);
  const coarsest = [...problem.inputs, ...problem.outputs].reduce(
    (worst, s) => Math.max(worst, epsilon(s.dtype)),
    0,
  );
  const result = problem.outputs[0] ?? problem.inputs[op.updates?.[0] ?? 0]!;
  return Math.max(base, isFloat(result.dtype) ? 4 * coarsest : 0);
}

const epsilon = (dtype: DType): number =>
  dtype === 'bfloat16' ? 2 ** -8 : dtype === 'float16' ? 2 ** -11 : 2 ** -24;
