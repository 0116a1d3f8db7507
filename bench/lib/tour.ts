/** The tour in README.md: each ```sh block is a step, the ```text block after it what the step prints. */
import { spawnSync } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { packageRoot } from '../../src/runtime/load.js';

const begin = '<!-- tour:begin -->';
const end = '<!-- tour:end -->';
const block = /```sh\n([\s\S]*?)```(\n+```text\n[\s\S]*?```)?/g;

export interface Step {
  /** One line: a command without continuation. */
  command: string;
  /** What README.md says it prints; null where it says nothing. */
  shown: string | null;
}

export interface Tour {
  before: string;
  text: string;
  after: string;
}

export function cut(readme: string): Tour {
  const from = readme.indexOf(begin);
  const to = readme.indexOf(end);
  if (from < 0 || to < from) throw new Error(`README.md lacks ${begin} … ${end}`);
  return {
    before: readme.slice(0, from + begin.length),
    text: readme.slice(from + begin.length, to),
    after: readme.slice(to),
  };
}

export const stepsOf = ({ text }: Tour): Step[] =>
  [...text.matchAll(block)].map(([, command, output]) => ({
    command: command!.trim(),
    shown: output === undefined ? null : output.replace(/^\n+```text\n/, '').replace(/```$/, ''),
  }));

/** The tour with what `print` gives for each step that shows something. */
export function withOutputs({ before, text, after }: Tour, print: (step: Step) => string): string {
  const steps = stepsOf({ before, text, after });
  let at = 0;
  const filled = text.replace(block, (whole, command: string, output: string | undefined) => {
    const step = steps[at++]!;
    const printed = print(step);
    return output === undefined ? whole : `\`\`\`sh\n${command}\`\`\`\n\n\`\`\`text\n${printed}\`\`\``;
  });
  return before + filled + after;
}

export interface Printed {
  status: number | null;
  /** Both streams, as a terminal shows them. */
  output: string;
}

/** Runs a step in a folder, as a user would: `npx attn-vk` is this package. */
export function runStep(
  { command }: Pick<Step, 'command'>,
  folder: string,
  env: NodeJS.ProcessEnv = {},
): Printed {
  const shell = command.replace(
    /\bnpx attn-vk\b/g,
    `'${process.execPath}' '${join(packageRoot(), 'dist/src/cli/index.js')}'`,
  );
  const python = process.env.ATTN_VK_TORCH_PYTHON;
  const path = python ? `${join(python, '..')}${delimiter}${process.env.PATH}` : process.env.PATH;
  const { status, stdout } = spawnSync('bash', ['-c', `{ ${shell}\n} 2>&1`], {
    cwd: folder,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    env: { ...process.env, PATH: path, NO_COLOR: '1', TQDM_DISABLE: '1', ...env },
  });
  return { status, output: stdout };
}

/** Long outputs keep their first and last lines. */
export function shorten(output: string, head = 12, tail = 14): string {
  const lines = output.trimEnd().split('\n');
  if (lines.length <= head + tail + 1) return `${lines.join('\n')}\n`;
  return `${[...lines.slice(0, head), '…', ...lines.slice(-tail)].join('\n')}\n`;
}
