/** What `bench:cpu` compares: our op on the CPU, and what the peers call the same work. */
import { opNamed } from '../../src/ops/registry.js';
import type { Shape } from '../../src/tensor/shape.js';
import { type Case, makeCase } from './cases.js';

export type PeerName = 'oneDNN' | 'PyTorch' | 'C++ loop';

export interface Comparison {
  c: Case;
  /** As the peers write it: '512', '4096x1024'. */
  size: string;
  /** Peer and the name of the work there; the C++ loops live in the oneDNN anchor. */
  peers: { peer: PeerName; work: string }[];
  /** 'rate': figures are GFLOP/s or GB/s, ratio at least; 'time': figures are times, ratio at most. */
  metric: 'rate' | 'time';
  /** One figure against the fastest of the peers, or one against each. */
  against: 'each' | 'fastest';
  /** Time the op's gradient too, over the forward pass. */
  backward?: boolean;
}

const matmul = (n: number, dtype: 'float32' | 'bfloat16'): Comparison => ({
  c: makeCase(opNamed('matmul'), n, dtype),
  size: `${n}`,
  peers: [
    { peer: 'oneDNN', work: 'matmul' },
    { peer: 'PyTorch', work: 'matmul' },
  ],
  metric: 'rate',
  against: 'each',
});

/** Loops that move the same bytes: what the machine itself can do past its caches. */
const loops: Record<string, string> = {
  add: 'loop_add_streaming',
  mul: 'loop_add_streaming',
  relu: 'stream_copy',
};

const elementwise = (op: string, n: number): Comparison => ({
  c: makeCase(opNamed(op), n),
  size: `${n}`,
  peers: [
    { peer: 'oneDNN', work: op },
    { peer: 'PyTorch', work: op },
    ...(n >= 2048 ? [{ peer: 'C++ loop' as const, work: loops[op]! }] : []),
  ],
  metric: n >= 2048 ? 'time' : 'rate',
  against: 'fastest',
});

const rows = (
  op: string,
  peers: Comparison['peers'],
  { backward, more }: { backward?: boolean; more?: readonly Shape[] } = {},
): Comparison => ({
  c: makeCase(opNamed(op), 4096, 'float32', [4096, 1024], more),
  size: '4096x1024',
  peers,
  metric: 'time',
  against: 'each',
  backward,
});

export function comparisons(quick: boolean): Comparison[] {
  const sizes = quick ? [128, 256, 512] : [128, 256, 512, 1024, 2048];
  const maps = quick ? [512] : [512, 1024, 2048];
  return [
    ...(['float32', 'bfloat16'] as const).flatMap((dtype) => sizes.map((n) => matmul(n, dtype))),
    ...maps.flatMap((n) => ['add', 'mul', 'relu'].map((op) => elementwise(op, n))),
    rows(
      'softmax',
      [
        { peer: 'oneDNN', work: 'softmax' },
        { peer: 'PyTorch', work: 'softmax' },
      ],
      { backward: true },
    ),
    rows(
      'layer_norm',
      [
        { peer: 'oneDNN', work: 'layer_norm' },
        { peer: 'PyTorch', work: 'layer_norm' },
      ],
      { backward: true, more: [[1024], [1024]] },
    ),
    rows('sum', [
      { peer: 'oneDNN', work: 'rowsum' },
      { peer: 'C++ loop', work: 'loop_rowsum' },
      { peer: 'PyTorch', work: 'rowsum' },
    ]),
  ];
}
