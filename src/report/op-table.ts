/** The table of all ops, from the ops themselves: `npm run docs` writes it to OPS.md. */
import { isOp, usage } from '../ops/define.js';
import * as exported from '../ops/index.js';
import { type DType, dtypes, floatDTypes } from '../tensor/dtype.js';
import { markdownTable } from './table.js';

export function opTable(): string {
  const rows = Object.entries(exported as Record<string, unknown>)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, value]) => {
      if (!isOp(value)) return [];
      const { op } = value;
      return [
        {
          call: `\`${usage(op, name)}\``,
          result: op.doc,
          dtypes: namesOf(op.dtypes),
          gradient: op.backward ? 'yes' : null,
        },
      ];
    });
  return markdownTable(rows);
}

function namesOf(list: readonly DType[]): string {
  if (dtypes.every((d) => list.includes(d))) return 'all';
  const floats = floatDTypes.every((d) => list.includes(d));
  const others = list.filter((d) => !floats || !(floatDTypes as readonly DType[]).includes(d));
  return [...(floats ? ['floats'] : []), ...others].join(', ');
}

/** The whole of OPS.md. */
export const opDocument = (): string => `# Ops

Written by \`npm run docs\` from the op objects in \`src/ops\`. Every op is also a method of its first tensor:
\`add(x, y)\` is \`x.add(y)\`. Operands are tensors; where one is a tensor, the others of a binary op and of \`where\` may
be numbers. Binary ops and \`where\` broadcast as NumPy does. Attributes are optional and given last, as an object; their
defaults and ranges stand in the op's file. Floats are float32, float16 and bfloat16; arithmetic on halves is float32.
"Gradient": the op declares one.

${opTable()}
`;
