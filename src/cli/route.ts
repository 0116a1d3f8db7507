/** `attn-vk route`: what either side would cost on this machine, which one the router takes, and why. */
import { type Command, InvalidArgumentError } from 'commander';
import { calibrate } from '../ops/calibration.js';
import { record } from '../ops/record.js';
import { opNamed } from '../ops/registry.js';
import { textTable } from '../report/table.js';
import { ArgumentError } from '../runtime/errors.js';
import type { Explanation } from '../runtime/native.js';
import { Runtime } from '../runtime/runtime.js';
import { checkDType, type DType } from '../tensor/dtype.js';
import { type Tensor, tensor } from '../tensor/tensor.js';

interface Options {
  sizes: number[];
  dtype: DType;
  device?: string;
  recalibrate?: boolean;
  json?: boolean;
  requireGpu?: boolean;
}

const usual = ['add', 'mul', 'relu', 'exp', 'softmax', 'sum', 'matmul'];

export function routeCommand(program: Command): void {
  program
    .command('route')
    .description(
      'show for ops on n × n operands in host memory what each side would cost, the choice, and why',
    )
    .argument('[ops...]', `ops by name (default: ${usual.join(' ')})`)
    .option('--sizes <n,...>', 'values of n', parseSizes, [64, 256, 512, 1024, 2048])
    .option('--dtype <dtype>', 'element type of the operands', (name) => checkDType(name, 'route'), 'float32')
    .option('--device <device>', 'number or part of the name of the Vulkan device')
    .option('--recalibrate', 'measure this machine again')
    .option('--json', 'print everything as JSON')
    .option('--require-gpu', 'exit with status 3 where no Vulkan device is usable')
    .action(route);
}

async function route(names: string[], options: Options): Promise<void> {
  const ops = (names.length > 0 ? names : usual).map(opNamed);
  const without = ops.find((op) => op.inputSpecs.length === 0);
  if (without)
    throw new ArgumentError(`'${without.name}' has no operands whose place could matter`, {
      hint: 'name ops that take tensors',
    });
  using runtime = new Runtime({
    device: options.device,
    route: process.env.ATTN_VK_ROUTE ? undefined : 'auto',
  });
  const { caps } = runtime;
  if (!caps) {
    process.stderr.write('attn-vk: no usable Vulkan device: every op runs on the CPU (see attn-vk doctor)\n');
    if (options.requireGpu) process.exitCode = 3;
  } else if (options.recalibrate || (runtime.route === 'auto' && !runtime.calibrated)) {
    process.stderr.write(`attn-vk: measuring this machine against ${caps.name}\n`);
    await calibrate(runtime);
  }

  const choices: Explanation[] = [];
  for (const op of ops)
    for (const n of options.sizes) {
      // Fresh operands each time: what is on the device already would cost no transfer.
      const values = new Float64Array(n * n).fill(0.5);
      const operands = op.inputSpecs
        .slice(0, op.inputSpecs.length - (op.optional ?? 0))
        .map(({ dtype = options.dtype }) => tensor(values, [n, n], { dtype, runtime }));
      const made: Tensor[] = [...operands];
      try {
        choices.push(...runtime.explain(() => made.push(...record(op, operands, undefined))));
      } finally {
        for (const t of made) t.dispose();
      }
    }

  const device = caps?.name ?? null;
  const { calibrated, path, probes } = runtime.routing();
  if (options.json)
    process.stdout.write(`${JSON.stringify({ device, calibrated, path, probes, choices }, null, 2)}\n`);
  else if (caps) process.stdout.write(`${format(choices)}\n`);
}

function format(choices: readonly Explanation[]): string {
  const rows = choices.map((c) => ({
    op: c.op,
    problem: c.problem,
    'cpu ms': milliseconds(c.cpu),
    'gpu ms': milliseconds(c.gpu),
    'copies ms': milliseconds(c.transfer),
    choice: c.side,
    from: c.source,
    reason: c.reason,
  }));
  return textTable(rows, [
    'op',
    { key: 'problem', max: 44 },
    number('cpu ms'),
    number('gpu ms'),
    number('copies ms'),
    'choice',
    'from',
    'reason',
  ]);
}

const number = (key: string) => ({ key, align: 'right' as const });

const milliseconds = (seconds: number): string =>
  Number.isFinite(seconds) ? (seconds * 1e3).toFixed(3) : '-';

function parseSizes(text: string): number[] {
  const sizes = text.split(',').map(Number);
  if (sizes.some((n) => !Number.isInteger(n) || n < 1))
    throw new InvalidArgumentError('give positive integers, 256,1024');
  return sizes;
}
