/**
 * The norms' gradients on Vulkan: dx by a team to each row (shaders/norm_backward_*.comp), dw and db by columns of
 * segments of rows whose partial sums are joined in order (shaders/norm_backward_columns.comp).
 */
import type { Caps, Dispatch } from '../runtime/binding.js';
import type { GpuVariant, Problem } from './contract.js';
import { loneGroup, MOST_TURNS, wordsOf } from './launch.js';
import { backwardParts, type NormBackwardAttrs } from './norm.backward.walk.js';
import {
  codeOf,
  ROW_STEP,
  rowLaunches,
  rowsBind,
  rowsPerLaunch,
  rowsTogether,
  rowTeams,
  type Team,
} from './norm.gpu.js';
import { rowsOf } from './norm.walk.js';

// Stages of shaders/norm_backward_columns.comp.
const PARTS = 0;
const JOIN = 1;

/** The operands, and where they stand. */
function placesOf(centred: boolean, { inputs, outputs }: Problem<NormBackwardAttrs>) {
  const parts = backwardParts(centred, inputs);
  const mean = 2;
  const rstd = centred ? 3 : 2;
  const [dx, dw, db] = outputs;
  return {
    ...parts,
    ...rowsOf(parts.x),
    at: { mean, rstd, weight: rstd + 1, dres: rstd + 2 },
    dx: dx!,
    dw: dw!,
    db,
  };
}

function dxLaunches(
  centred: boolean,
  problem: Problem<NormBackwardAttrs>,
  caps: Caps,
  team: Team,
): Dispatch[] {
  const { dy, x, weight, dres, rows, n, at, mean, rstd } = placesOf(centred, problem);
  const together = rowsTogether(n, [x]);
  return rowLaunches(team, rows, rowsPerLaunch([dy, x], rows, n, caps), together, (from, to) => {
    const none = rowsBind(1, x, n, from, to);
    return {
      spec: [
        team.group,
        codeOf(dy),
        codeOf(x),
        codeOf(weight),
        dres ? 1 : 0,
        centred ? 1 : 0,
        together,
        n % 4 === 0 ? 1 : 0,
      ],
      push: [to - from, n],
      binds: [
        rowsBind(0, dy, n, from, to),
        none,
        weight ? { operand: at.weight, write: false } : none,
        dres ? rowsBind(at.dres, dres, n, from, to) : none,
        rowsBind(problem.inputs.length, x, n, from, to, true),
        mean ? rowsBind(at.mean, mean, 1, from, to) : none,
        rowsBind(at.rstd, rstd, 1, from, to),
      ],
    };
  });
}

/** How the rows are cut for the columns' sums: enough segments to keep the device busy. */
function segmentsOf(rows: number, units: number, perLaunch: number, caps: Caps) {
  const busy = caps.type === 'cpu' ? 512 : 8192;
  const wanted = Math.max(
    1,
    Math.min(Math.ceil(busy / units), Math.floor(rows / 32)),
    Math.ceil(rows / Math.min(MOST_TURNS, 4096)),
  );
  let segment = Math.ceil(rows / wanted);
  if (perLaunch >= rows) {
    const segments = Math.ceil(rows / segment);
    return { segment, segments, perWindow: segments };
  }
  // Windows begin where segments do.
  segment = Math.min(perLaunch, Math.ceil(segment / ROW_STEP) * ROW_STEP);
  return { segment, segments: Math.ceil(rows / segment), perWindow: Math.floor(perLaunch / segment) };
}

function columnLaunches(centred: boolean, problem: Problem<NormBackwardAttrs>, caps: Caps) {
  const { dy, x, rows, n, at, mean, rstd, dw, db } = placesOf(centred, problem);
  const vectors = n % 4 === 0 ? 1 : 0;
  const units = vectors ? n / 4 : n;
  const { segment, segments, perWindow } = segmentsOf(
    rows,
    units,
    rowsPerLaunch([dy, x], rows, n, caps),
    caps,
  );
  const group = loneGroup(caps);
  const outputs = problem.inputs.length;
  const parts = outputs + problem.outputs.length;
  const constants = (stage: number, out: number) => [
    group,
    stage,
    codeOf(dy),
    codeOf(x),
    out,
    centred ? 1 : 0,
    vectors,
  ];
  const dispatches: Dispatch[] = [];
  for (let first = 0; first < segments; first += perWindow) {
    const count = Math.min(perWindow, segments - first);
    const from = first * segment;
    const to = Math.min(rows, from + count * segment);
    const none = rowsBind(1, x, n, from, to);
    dispatches.push({
      shader: 'norm_backward_columns',
      spec: constants(PARTS, 0),
      push: [count * units, to - from, n, segment, segments, first, 0],
      groups: Math.ceil((count * units) / group),
      binds: [
        rowsBind(0, dy, n, from, to),
        none,
        mean ? rowsBind(at.mean, mean, 1, from, to) : none,
        rowsBind(at.rstd, rstd, 1, from, to),
        { operand: parts, write: true },
        none,
      ],
    });
  }
  for (const [i, out] of [dw, db].entries())
    if (out && out.size > 0) {
      const words = wordsOf(out);
      const sums = { operand: parts, write: false };
      dispatches.push({
        shader: 'norm_backward_columns',
        spec: constants(JOIN, codeOf(out)),
        push: [words, rows, n, segment, segments, 0, i * segments * n],
        groups: Math.ceil(words / group),
        binds: [sums, sums, sums, sums, sums, { operand: outputs + 1 + i, write: true }],
      });
    }
  return { scratch: [(centred ? 2 : 1) * segments * n * 4], dispatches };
}

/** The kernels of the norms' gradients, best first. */
export const normBackwardVariants = (centred: boolean): GpuVariant<NormBackwardAttrs>[] =>
  rowTeams<NormBackwardAttrs>(
    'norm_backward',
    (problem) => {
      const { dy, x, rows, n } = placesOf(centred, problem);
      return { rows, n, operands: [dy, x] };
    },
    (problem, caps, team) => {
      const { dx, dw, db } = placesOf(centred, problem);
      const rows = dx.size > 0 ? dxLaunches(centred, problem, caps, team) : [];
      if (dw.size === 0 && !db?.size) return { dispatches: rows };
      const columns = columnLaunches(centred, problem, caps);
      return { scratch: columns.scratch, dispatches: [...rows, ...columns.dispatches] };
    },
  );
