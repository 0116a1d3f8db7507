/** Einstein notation, as far as it is text: 'bij,bjk->bik' and ranks to labels, one for each axis. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { type Shape, show } from '../tensor/shape.js';

/** A label names an axis: a letter, or '.0', '.1', … from the right for the axes that an ellipsis stands for. */
export type Label = string;

export interface Contraction {
  /** Labels of each operand, one for each of its axes. */
  inputs: Label[][];
  output: Label[];
  sizes: ReadonlyMap<Label, number>;
}

const op = 'einsum';

/** Reads an equation for operands of these shapes. */
export function parse(equation: string, shapes: readonly Shape[]): Contraction {
  if (typeof equation !== 'string')
    throw new ArgumentError(`the equation is ${typeof equation}`, { op, hint: "for example 'ij,jk->ik'" });
  const parts = equation.replace(/\s+/g, '').split('->');
  if (parts.length > 2)
    throw new ArgumentError(`'${equation}' has more than one '->'`, { op, hint: 'inputs->output' });
  const [left, right] = parts;
  const terms = left!.split(',');
  if (terms.length !== shapes.length)
    throw new ArgumentError(`'${equation}' names ${terms.length} operands but ${shapes.length} were given`, {
      op,
      hint: 'separate the labels of operands by commas',
    });
  let dots = 0; // axes of the longest ellipsis
  const inputs = terms.map((term, i) => {
    const shape = shapes[i]!;
    const letters = lettersOf(term, equation);
    const rest = shape.length - (letters.length - (letters.includes('...') ? 1 : 0));
    if (rest < 0 || (rest > 0 && !letters.includes('...')))
      throw new ShapeError(`'${term}' labels ${letters.length} axes but operand ${i} is ${show(shape)}`, {
        op,
        hint: "give each axis a letter, or stand '...' for several",
      });
    if (letters.includes('...')) dots = Math.max(dots, rest);
    return letters.flatMap((letter) => (letter === '...' ? ellipsis(rest) : [letter]));
  });
  const output = outputOf(inputs, right, dots, equation);
  return { inputs, output, sizes: sizesOf(inputs, shapes, output, equation) };
}

const ellipsis = (axes: number): Label[] => Array.from({ length: axes }, (_, i) => `.${axes - 1 - i}`);

function lettersOf(term: string, equation: string): string[] {
  const letters: string[] = term.match(/\.\.\.|./g) ?? [];
  for (const letter of letters)
    if (letter !== '...' && !/^[a-zA-Z]$/.test(letter))
      throw new ArgumentError(`'${letter}' in '${equation}' is no label`, {
        op,
        hint: "labels are letters; '...' stands for the axes that have none",
      });
  if (letters.indexOf('...') !== letters.lastIndexOf('...'))
    throw new ArgumentError(`'${term}' in '${equation}' has more than one '...'`, {
      op,
      hint: 'write it once',
    });
  return letters;
}

/** Without an arrow: what an ellipsis stands for, then the letters that occur once, in alphabetical order. */
function outputOf(
  inputs: readonly Label[][],
  right: string | undefined,
  dots: number,
  equation: string,
): Label[] {
  const all = inputs.flat();
  if (right === undefined) {
    const once = all.filter((l) => l[0] !== '.' && all.indexOf(l) === all.lastIndexOf(l));
    return [...ellipsis(dots), ...once.sort()];
  }
  const output = lettersOf(right, equation).flatMap((letter) =>
    letter === '...' ? ellipsis(dots) : [letter],
  );
  const repeated = output.find((l, i) => output.indexOf(l) !== i);
  if (repeated)
    throw new ArgumentError(`the output of '${equation}' repeats '${repeated}'`, {
      op,
      hint: 'name each axis of the output once',
    });
  const unknown = output.find((l) => !all.includes(l));
  if (unknown)
    throw new ArgumentError(`the output of '${equation}' has '${unknown}', which no operand has`, {
      op,
      hint: `the operands have ${[...new Set(all)].join(', ') || 'no axes'}`,
    });
  if (dots > 0 && !right.includes('...'))
    throw new ArgumentError(`the output of '${equation}' lacks the '...' of its operands`, {
      op,
      hint: 'write it there, or give the axes letters to sum over them',
    });
  return output;
}

function sizesOf(
  inputs: readonly Label[][],
  shapes: readonly Shape[],
  output: readonly Label[],
  equation: string,
): Map<Label, number> {
  const sizes = new Map<Label, number>();
  inputs.forEach((labels, i) => {
    labels.forEach((label, axis) => {
      const size = shapes[i]![axis]!;
      const known = sizes.get(label);
      if (known !== undefined && known !== size)
        throw new ShapeError(
          `'${label}' in '${equation}' is ${known} and, in operand ${i} ${show(shapes[i]!)}, ${size}`,
          { op, hint: 'axes of one label have one size: nothing is broadcast' },
        );
      sizes.set(label, size);
    });
  });
  if (output.length > 8)
    throw new ShapeError(`the output of '${equation}' has ${output.length} axes`, {
      op,
      hint: 'tensors have at most 8',
    });
  return sizes;
}
