/** Softmax and its kin on Vulkan: which kernel (shaders/softmax_*.comp) runs a problem, and how it is cut. */
import type { Bind, Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { dtypeCode, perWord } from '../tensor/dtype.js';
import type { Spec } from '../tensor/shape.js';
import type { GpuVariant, Problem } from './contract.js';
import {
  cutLines,
  fixedSubgroups,
  loneGroup,
  MOST_TURNS,
  overBinding,
  sharedGroup,
  windowElements,
  windowOf,
  wordsOf,
} from './launch.js';
import { type Kind, kindCode, type Lines, linesOf, type SoftmaxAttrs } from './softmax.walk.js';

/** A problem as the kernels see it: `x` is what the lines are of, `dy` stands before it in a gradient's inputs. */
interface Frame extends Lines {
  x: Spec;
  y: Spec;
  /** Places of x, dy (that of x where there is none) and the output among the operands. */
  at: { x: number; dy: number; y: number };
  /** Elements of output to a line. */
  kept: number;
}

function frameOf(kind: Kind, { inputs, outputs, attrs }: Problem<SoftmaxAttrs>): Frame {
  const x = inputs.at(-1)!;
  const lines = linesOf(x.shape, attrs);
  const at = { x: inputs.length - 1, dy: 0, y: inputs.length };
  return { ...lines, x, y: outputs[0]!, at, kept: kind === 'logsumexp' ? 1 : lines.n };
}

/** Rows whose bytes, of input and output, start at a multiple of what a binding's offset needs. */
function rowStep({ n, kept, x }: Frame): number {
  const size = 4 / perWord(x.dtype);
  let step = 256;
  while (step > 1 && [n, kept].every((k) => (k * size * (step / 2)) % 256 === 0)) step /= 2;
  return step;
}

/** Rows to a launch: all, or as many as a binding holds of the input and of the output. */
function rowsPerLaunch(frame: Frame, caps: Caps): number {
  const most = Math.floor(windowElements(frame.x, caps) / frame.n);
  const step = rowStep(frame);
  return frame.outer <= most ? frame.outer : Math.floor(most / step) * step;
}

/** Rows that one team takes: those that end in one word of output. */
const rowsTogether = ({ kept, y }: Frame): number => (kept % perWord(y.dtype) === 0 ? 1 : 2);

function admitsRows(frame: Frame, caps: Caps, team: number): string | null {
  const { n, inner, x } = frame;
  if (x.size === 0) return 'there is nothing to do';
  if (inner !== 1) return 'the axis is not the last';
  // Three passes, over two rows of halves where they share words.
  if (8 * n > MOST_TURNS * team) return `rows of ${n} are too long for a team of ${team}`;
  if (rowsPerLaunch(frame, caps) === 0)
    return `a window of rows is larger than a binding of ${caps.maxBindingBytes} bytes`;
  return null;
}

/** shaders/softmax_*.comp: a team to each row, or to a pair of them. */
function rowsPlan(kind: Kind, frame: Frame, caps: Caps, shader: string, team: number): GpuPlan {
  const { outer, n, kept, x, y, at } = frame;
  const most = rowsPerLaunch(frame, caps);
  const together = rowsTogether(frame);
  const dispatches: Dispatch[] = [];
  for (let row = 0; row < outer; row += most) {
    const rows = Math.min(most, outer - row);
    const bind = (operand: number, s: Spec, width: number, write: boolean): Bind => ({
      ...windowOf(operand, s, row * width, (row + rows) * width).bind,
      write,
    });
    dispatches.push({
      shader,
      spec: [team, dtypeCode[x.dtype], kindCode[kind], together, n % (4 * perWord(x.dtype)) === 0 ? 1 : 0],
      push: [rows, n],
      groups: Math.ceil(rows / together),
      binds: [bind(at.x, x, n, false), bind(at.y, y, kept, true), bind(at.dy, x, n, false)],
    });
  }
  return { dispatches };
}

// Stages of shaders/softmax_lines.comp.
const LINES = 0; // two numbers of each line
const PARTS = 1; // of each segment of each line
const JOIN = 2; // segments to lines
const APPLY = 3; // one invocation to an output word

/** Any axis, any length: one invocation to a line, or to a segment of one where lines are few or long. */
function linesPlan(kind: Kind, frame: Frame, caps: Caps): GpuPlan {
  const { outer, n, inner, x, y, at } = frame;
  if (x.size === 0) return { dispatches: [] };
  const lines = outer * inner;
  const group = loneGroup(caps);
  const { length, segments } = cutLines(lines, n, 256, 2, caps);
  const [forLines, forParts] = [at.y + 1, at.y + 2];
  const launch = (stage: number, invocations: number, from: number, stats: number): Dispatch => ({
    shader: 'softmax_lines',
    spec: [group, dtypeCode[x.dtype], kindCode[kind], stage],
    push: [invocations, x.size, n, inner, segments, length],
    groups: Math.ceil(invocations / group),
    binds: [
      { operand: from, write: false },
      { operand: at.y, write: stage === APPLY },
      { operand: stats, write: stage !== APPLY },
      { operand: at.dy, write: false },
    ],
  });
  const apply = launch(APPLY, wordsOf(y), at.x, forLines);
  if (segments === 1)
    return { scratch: [lines * 8], dispatches: [launch(LINES, lines, at.x, forLines), apply] };
  return {
    scratch: [lines * 8, lines * segments * 8],
    dispatches: [
      launch(PARTS, lines * segments, at.x, forParts),
      launch(JOIN, lines, forParts, forLines),
      apply,
    ],
  };
}

/** The kernels of one kind, best first. */
export const softmaxVariants = <A extends SoftmaxAttrs>(kind: Kind): GpuVariant<A>[] => [
  {
    name: 'subgroup',
    admits: (problem, caps) =>
      fixedSubgroups(caps) ?? admitsRows(frameOf(kind, problem), caps, caps.subgroupSize),
    prefers(problem, caps) {
      const { n } = frameOf(kind, problem);
      return n >= 4 * caps.subgroupSize && (caps.type === 'cpu' || n <= 1024);
    },
    plan: (problem, caps) =>
      rowsPlan(kind, frameOf(kind, problem), caps, 'softmax_subgroup', caps.subgroupSize),
  },
  {
    name: 'shared',
    admits: (problem, caps) => admitsRows(frameOf(kind, problem), caps, sharedGroup(caps)),
    prefers: (problem, caps) => caps.type !== 'cpu' && frameOf(kind, problem).n >= 128,
    plan: (problem, caps) =>
      rowsPlan(kind, frameOf(kind, problem), caps, 'softmax_shared', sharedGroup(caps)),
  },
  {
    name: 'simple',
    admits: (problem, caps) =>
      problem.outputs[0]!.size > 0 && frameOf(kind, problem).n === 0
        ? 'the lines are empty'
        : overBinding(problem.inputs, caps),
    plan: (problem, caps) => linesPlan(kind, frameOf(kind, problem), caps),
  },
];
