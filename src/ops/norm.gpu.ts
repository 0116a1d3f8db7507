/** The norms on Vulkan: shaders/norm_*.comp, a team to each row; and what their gradients' plans share with them. */
import type { Bind, Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { dtypeCode, floatBits, perWord } from '../tensor/dtype.js';
import type { Spec } from '../tensor/shape.js';
import type { GpuVariant, Problem } from './contract.js';
import { fixedSubgroups, loneGroup, MOST_TURNS, sharedGroup, windowElements, windowOf } from './launch.js';
import { type Kind, type NormAttrs, partsOf, rowsOf } from './norm.walk.js';

/** The dtype code of an operand that is not there; its binding is that of an operand that is. */
const NONE = 15;
export const codeOf = (s: Spec | undefined): number => (s ? dtypeCode[s.dtype] : NONE);

/** Windows of rows begin at multiples of this many: 256 bytes, whatever the row and the dtype. */
export const ROW_STEP = 128;

/** Rows to a launch: all, or as many as a binding holds of each of these operands; 0 where it cannot hold a step. */
export function rowsPerLaunch(operands: readonly Spec[], rows: number, n: number, caps: Caps): number {
  const most = Math.floor(Math.min(...operands.map((s) => windowElements(s, caps))) / n);
  return rows <= most ? rows : Math.floor(most / ROW_STEP) * ROW_STEP;
}

/** Rows that one team takes: two where a word of these may hold the end of one and the start of the next. */
export const rowsTogether = (n: number, operands: readonly Spec[]): number =>
  operands.some((s) => n % perWord(s.dtype) !== 0) ? 2 : 1;

/** How a plan launches its row kernel: which shader, how many invocations to a workgroup, rows to a workgroup. */
export interface Team {
  shader: string;
  group: number;
  teams: number;
}

/** The three sizes of team, best first, for a row kernel whose shaders are `<family>_<name>`. */
export function rowTeams<A>(
  family: string,
  /** Rows, and the operands of their shape; of the problem. */
  frame: (problem: Problem<A>) => { rows: number; n: number; operands: readonly Spec[] },
  plan: (problem: Problem<A>, caps: Caps, team: Team) => GpuPlan,
): GpuVariant<A>[] {
  const admits = (problem: Problem<A>, caps: Caps, members: number) => {
    const { rows, n, operands } = frame(problem);
    if (rows * n === 0) return 'there is nothing to do';
    // Three passes, over two rows of halves where they share words.
    if (8 * n > MOST_TURNS * members) return `rows of ${n} are too long for a team of ${members}`;
    if (rowsPerLaunch(operands, rows, n, caps) === 0)
      return `${ROW_STEP} rows are larger than a binding of ${caps.maxBindingBytes} bytes`;
    return null;
  };
  return [
    {
      name: 'subgroup',
      admits: (problem, caps) => fixedSubgroups(caps) ?? admits(problem, caps, caps.subgroupSize),
      prefers(problem, caps) {
        const { n } = frame(problem);
        return n >= 4 * caps.subgroupSize && (caps.type === 'cpu' || n <= 1024);
      },
      plan: (problem, caps) =>
        plan(problem, caps, { shader: `${family}_subgroup`, group: caps.subgroupSize, teams: 1 }),
    },
    {
      name: 'shared',
      admits: (problem, caps) => admits(problem, caps, sharedGroup(caps)),
      prefers: (problem, caps) => caps.type !== 'cpu' && frame(problem).n >= 128,
      plan: (problem, caps) =>
        plan(problem, caps, { shader: `${family}_shared`, group: sharedGroup(caps), teams: 1 }),
    },
    {
      name: 'simple',
      admits: (problem, caps) => admits(problem, caps, 1),
      plan: (problem, caps) =>
        plan(problem, caps, { shader: `${family}_simple`, group: loneGroup(caps), teams: loneGroup(caps) }),
    },
  ];
}

/** A launch for each window of rows; `binds` makes the bindings of rows [from, to). */
export function rowLaunches(
  team: Team,
  rows: number,
  perLaunch: number,
  together: number,
  make: (from: number, to: number) => Omit<Dispatch, 'shader' | 'groups'>,
): Dispatch[] {
  const dispatches: Dispatch[] = [];
  for (let row = 0; row < rows; row += perLaunch) {
    const end = Math.min(rows, row + perLaunch);
    const { shader, teams } = team;
    dispatches.push({ shader, groups: Math.ceil((end - row) / (together * teams)), ...make(row, end) });
  }
  return dispatches;
}

/** The binding of rows [from, to) of an operand with `n` elements to a row. */
export const rowsBind = (
  operand: number,
  s: Spec,
  n: number,
  from: number,
  to: number,
  write = false,
): Bind => ({
  ...windowOf(operand, s, from * n, to * n).bind,
  write,
});

/** The norms' kernels, best first. */
export const normVariants = (kind: Kind): GpuVariant<NormAttrs>[] => {
  /** Inputs and outputs of the shape of x. */
  const wide = ({ inputs, outputs }: Problem<NormAttrs>) => {
    const { x, residual } = partsOf(kind, inputs);
    return { x, residual, y: outputs[0]!, sum: residual && outputs[1]! };
  };
  return rowTeams<NormAttrs>(
    'norm',
    (problem) => {
      const { x, residual, y, sum } = wide(problem);
      return { ...rowsOf(x), operands: [x, y, ...(residual && sum ? [residual, sum] : [])] };
    },
    (problem, caps, team) => {
      const { inputs, outputs, attrs } = problem;
      const { x, residual, y, sum } = wide(problem);
      const { weight, bias } = partsOf(kind, inputs);
      const { rows, n } = rowsOf(x);
      const operands = [x, y, ...(residual && sum ? [residual, sum] : [])];
      const together = rowsTogether(n, sum ? [y, sum] : [y]);
      const constants = [team.group, codeOf(x), codeOf(y), codeOf(residual), codeOf(weight), codeOf(bias)];
      const spec = [...constants, kind.centred ? 1 : 0, together, n % 4 === 0 ? 1 : 0];
      const first = residual ? 2 : 1; // the weight's place
      const out = inputs.length;
      const statistics = out + (residual ? 2 : 1);
      const last = out + outputs.length - 1;
      return {
        dispatches: rowLaunches(team, rows, rowsPerLaunch(operands, rows, n, caps), together, (from, to) => {
          const none = rowsBind(0, x, n, from, to);
          return {
            spec,
            push: [to - from, n, floatBits(attrs.eps)],
            binds: [
              none,
              residual ? rowsBind(1, residual, n, from, to) : none,
              weight ? { operand: first, write: false } : none,
              bias ? { operand: first + 1, write: false } : none,
              rowsBind(out, y, n, from, to, true),
              sum ? rowsBind(out + 1, sum, n, from, to, true) : none,
              kind.centred ? rowsBind(statistics, outputs.at(-2)!, 1, from, to, true) : none,
              rowsBind(last, outputs.at(-1)!, 1, from, to, true),
            ],
          };
        }),
      };
    },
  );
};
