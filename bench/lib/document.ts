/**
 * Figures of the notes "Adaptive Attention Tiling System v2": element-wise ops on Vulkan against the CPU, PyTorch
 * 2.6 with its Vulkan backend on that author's laptop. They stand beside ours and are not ours.
 */
const speedUps: Record<string, Record<number, string>> = {
  add: { 512: '4.57x', 1024: '1.71x', 2048: 'slower' },
  mul: { 512: '5.12x', 1024: 'a drop', 2048: 'slower' },
  relu: { 512: '5.37x', 1024: '2.05x', 2048: 'slower' },
};

export const documented = (op: string, n: number): string | null => speedUps[op]?.[n] ?? null;

export const documentedAs =
  '"notes": the notes Adaptive Attention Tiling System v2, PyTorch 2.6 Vulkan on its author\'s laptop';
