/** linear on Vulkan: one of the products' kernels with everything as its epilogue. */
import type { GpuVariant, Problem } from './contract.js';
import { type LinearAttrs, sizesOf } from './linear.walk.js';
import { type Place, type Product, placed, tiers } from './matmul.gpu.js';

/** Fields of products that are no batches. */
export const single = { batch: [], aSteps: [], bSteps: [] };

function forward({ inputs, outputs, attrs }: Problem<LinearAttrs>): Product {
  const { rows, inner, outer } = sizesOf(inputs[0]!, inputs[1]!);
  const at = (i: number): Place | undefined => inputs[i] && placed(i, inputs[i]);
  const out = inputs.length;
  return {
    ...single,
    m: rows,
    n: outer,
    k: inner,
    a: at(0)!,
    b: at(1)!,
    bias: at(2),
    residual: at(3),
    out: placed(out, outputs[0]!),
    kept: attrs.activation === 'none' ? undefined : placed(out + 1, outputs[1]!),
    transposeA: false,
    transposeB: true,
    activation: attrs.activation,
    free: out + 2,
  };
}

export const linearVariants: readonly GpuVariant<LinearAttrs>[] = tiers.map(
  ({ name, admits, prefers, plan }) => ({
    name,
    admits: (problem, caps) => admits(forward(problem), caps),
    prefers: (problem, caps) => prefers(forward(problem), caps),
    plan: (problem, caps) => plan(forward(problem), caps),
  }),
);
