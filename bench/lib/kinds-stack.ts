/**
 * What depth costs: the bytes that a pass forward and backward through a stack of residual layers holds at its peak,
 * beyond what lives before and after it (parameters and their gradients, input and gradient of the output). One layer
 * cannot show it: the four tensors of its rim are most of its bytes, whatever it does inside.
 */
import { createAttention } from '../../src/attention/registry.js';
import { Rotary } from '../../src/attention/shared/positions.js';
import { fill, normal } from '../../src/ops/index.js';
import type { Figure } from '../../src/report/json.js';
import { Runtime, type RuntimeOptions, useRuntime } from '../../src/runtime/runtime.js';
import { manualSeed } from '../../src/tensor/generator.js';
import { scope } from '../../src/tensor/scope.js';
import { DIM, type Entry, HEADS } from './kinds.js';

const LAYERS = 8;
const LENGTH = 4096;

const contenders: Entry[] = [
  { name: 'flash', config: { kind: 'flash' } },
  { name: 'holo', config: { kind: 'holo' } },
  { name: 'holo segment=512', config: { kind: 'holo', segment: 512 } },
  { name: 'holo segment=256', config: { kind: 'holo', segment: 256 } },
];

/** Bytes added, and their ratio to flash's. */
export async function stacks(side: RuntimeOptions, longest: number): Promise<Figure[]> {
  const length = Math.min(LENGTH, longest);
  const added: number[] = [];
  for (const entry of contenders) added.push(await bytesAdded(entry, length, side));
  return contenders.flatMap(({ name }, i) => [
    {
      name: `${name}, ${LAYERS} layers T=${length}`,
      metric: 'bytes added',
      value: added[i]! / 2 ** 20,
      unit: 'MiB',
    },
    ...(i > 0
      ? [{ name: `${name}, ${LAYERS} layers T=${length}`, metric: "bytes added over flash's", value: added[i]! / added[0]!, unit: 'x' }] // biome-ignore format: one figure a line
      : []),
  ]);
}

async function bytesAdded({ config }: Entry, length: number, side: RuntimeOptions): Promise<number> {
  const runtime = new Runtime(side);
  const before = useRuntime(runtime);
  try {
    manualSeed(1);
    const layers = Array.from({ length: LAYERS }, () =>
      createAttention({ ...config, dim: DIM, heads: HEADS }),
    );
    const rope = new Rotary({ dim: layers[0]!.rotaryDim, length });
    const shape = [1, length, DIM];
    const x = normal({ shape, seed: 1 });
    const dy = fill({ shape, value: 1 });
    x.requiresGrad = true;
    const pass = () => {
      scope(() => {
        let y = x;
        for (const layer of layers) y = layer.forward(y, { rope, residual: y });
        y.backward(dy);
      });
      x.grad = null;
      for (const layer of layers) layer.zeroGrad();
    };
    pass(); // what is made once is there from now on
    await runtime.sync();
    runtime.trim();
    const live = bytesOf(runtime, 'live');
    pass();
    await runtime.sync();
    const gradients = layers.reduce((bytes, layer) => bytes + 4 * layer.size, 0);
    return bytesOf(runtime, 'peak') - live - gradients;
  } finally {
    useRuntime(before);
    runtime.dispose();
  }
}

function bytesOf(runtime: Runtime, which: 'live' | 'peak'): number {
  const { host, device } = runtime.memory();
  return host[which] + (device?.[which] ?? 0);
}
