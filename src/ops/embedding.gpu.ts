/** The gradient of an embedding on Vulkan: each vector of the table has one owner, which finds its terms or is given them. */
import type { Caps, Dispatch } from '../runtime/binding.js';
import { dtypeCode, perWord } from '../tensor/dtype.js';
import type { GpuVariant, Problem } from './contract.js';
import { loneGroup, overBinding, overTurns, wordsOf } from './launch.js';

interface Attrs {
  rows: number;
}

/** Sizes, and the units that rows are cut into: 16 bytes where rows are whole vectors, else words of the table. */
function geometryOf({ inputs: [dy, ids], outputs: [dw] }: Problem<Attrs>) {
  const [rows, channels] = dw!.shape as [number, number];
  const unit = 4 * perWord(dy!.dtype);
  const vectors = channels % unit === 0;
  return {
    n: ids!.size,
    rows,
    vectors,
    /** Vectors or elements of a row. */
    rowUnits: vectors ? channels / unit : channels,
    units: vectors ? dw!.size / unit : wordsOf(dw!),
    /** Rows that one unit looks at. */
    lanes: vectors ? 1 : perWord(dy!.dtype),
  };
}

/** shaders/embedding_backward.comp: sums by owners, which look through the ids (`lists` 0) or follow lists (1). */
function sum(problem: Problem<Attrs>, caps: Caps, lists: 0 | 1, start: number, position: number): Dispatch {
  const { n, rows, vectors, rowUnits, units } = geometryOf(problem);
  const group = loneGroup(caps);
  return {
    shader: 'embedding_backward',
    spec: [group, dtypeCode[problem.inputs[0]!.dtype], vectors ? 1 : 0, lists],
    push: [units, problem.outputs[0]!.size, n, rows, rowUnits],
    groups: Math.ceil(units / group),
    binds: [
      { operand: 0 },
      { operand: 1 },
      { operand: 2 },
      { operand: start, write: false },
      { operand: position, write: false },
    ],
  };
}

const admits = ({ inputs, outputs }: Problem<Attrs>, caps: Caps): string | null =>
  overBinding([...inputs, ...outputs], caps);

/** Every owner reads every id. */
export const scan: GpuVariant<Attrs> = {
  name: 'scan',
  admits(problem, caps) {
    const { n, lanes } = geometryOf(problem);
    return admits(problem, caps) ?? overTurns(n * lanes, caps);
  },
  prefers(problem, caps) {
    const { n, units, lanes } = geometryOf(problem);
    return (units * n * lanes) / 4 <= (caps.type === 'cpu' ? 2 ** 14 : 2 ** 24);
  },
  plan: (problem, caps) => ({
    dispatches: problem.outputs[0]!.size === 0 ? [] : [sum(problem, caps, 0, 1, 1)],
  }),
};

// Stages of shaders/sort_ids.comp.
const ZERO = 0; // the table of counts
const COUNT = 1; // ids of each segment, by row
const COLUMNS = 2; // counts to places within a row's list, and the list's length
const BLOCKS = 3; // lengths to places within a block of lists
const TOP = 4; // blocks to places
const PLACE = 5; // positions into the lists

/** Lists to a block of shaders/sort_ids.comp. */
const BLOCK = 256;

/** Bytes of the table of counts, a row of it for each segment of the ids. */
const TABLE = 2 ** 25;

function segmentsOf({ n, rows }: { n: number; rows: number }): number {
  return Math.max(1, Math.min(Math.ceil(n / 64), 512, Math.floor(TABLE / 4 / rows)));
}

/** A counting sort of the positions by id, in six launches; then owners follow lists. */
export const sorted: GpuVariant<Attrs> = {
  name: 'sorted',
  admits(problem, caps) {
    const g = geometryOf(problem);
    const longest = Math.max(g.n * g.lanes, Math.ceil(g.n / segmentsOf(g)), Math.ceil(g.rows / BLOCK));
    if (problem.outputs[0]!.size === 0) return 'there is nothing to sort';
    if (4 * g.rows > caps.maxBindingBytes - 4096) return 'the table has more rows than a binding holds words';
    return admits(problem, caps) ?? overTurns(longest, caps);
  },
  plan(problem, caps) {
    const g = geometryOf(problem);
    const segments = segmentsOf(g);
    const length = Math.max(1, Math.ceil(g.n / segments));
    const blocks = Math.floor(g.rows / BLOCK) + 1;
    const group = loneGroup(caps);
    const [counts, start, position] = [3, 4, 5];
    const stage = (which: number, invocations: number): Dispatch => ({
      shader: 'sort_ids',
      spec: [group, which],
      push: [invocations, g.n, g.rows, segments, length, blocks],
      groups: Math.ceil(invocations / group),
      binds: [
        { operand: 1 },
        { operand: counts, write: which !== BLOCKS && which !== TOP },
        { operand: start, write: which === COLUMNS || which === BLOCKS || which === TOP },
        { operand: position, write: which === PLACE },
      ],
    });
    return {
      scratch: [4 * segments * g.rows, 4 * (g.rows + 1 + blocks), 4 * Math.max(1, g.n)],
      dispatches: [
        stage(ZERO, segments * g.rows),
        stage(COUNT, segments),
        stage(COLUMNS, g.rows + 1),
        stage(BLOCKS, blocks),
        stage(TOP, 1),
        stage(PLACE, segments),
        sum(problem, caps, 1, start, position),
      ],
    };
  },
};
