/**
 * What could stand at the cursor, from commander's own tree. The shells' scripts ask the hidden command `complete` at
 * each Tab, so what they offer is what this version takes.
 */
import type { Command, Option } from 'commander';

export interface Candidate {
  value: string;
  doc?: string;
}

export interface Answer {
  candidates: readonly Candidate[];
  /** What the shell adds by itself. */
  paths: 'none' | 'files' | 'folders';
}

/** What stands behind the name of an argument or of an option's value, `<config>`. */
export type Sources = Readonly<Record<string, () => Partial<Answer>>>;

/** @param words what follows the program's name, up to the cursor; the last one is incomplete, or '' */
export function complete(program: Command, words: readonly string[], sources: Sources): Answer {
  const last = words.at(-1) ?? '';
  const { command, waiting, position, onlyArguments } = walk(program, words.slice(0, -1));
  if (waiting) return narrow(ofOption(waiting, sources), last);
  if (!onlyArguments && last.startsWith('-')) {
    const [flag, ...value] = last.split('=');
    if (value.length === 0) return narrow({ candidates: flags(command) }, last);
    const option = optionNamed(command, flag!);
    return option ? narrow(ofOption(option, sources), value.join('='), `${flag}=`) : none;
  }
  const found: Partial<Answer> = ofArgument(command, position, sources);
  const below = position === 0 && !onlyArguments ? subcommands(command) : [];
  return narrow({ ...found, candidates: [...below, ...(found.candidates ?? [])] }, last);
}

const none: Answer = { candidates: [], paths: 'none' };

function walk(program: Command, words: readonly string[]) {
  let command = program;
  let position = 0;
  let waiting: Option | undefined;
  let onlyArguments = false;
  for (const word of words) {
    if (onlyArguments) position++;
    else if (word === '--') [onlyArguments, waiting] = [true, undefined];
    else if (word.startsWith('-')) {
      const option = word.includes('=') ? undefined : optionNamed(command, word);
      waiting = option && (option.required || option.optional) ? option : undefined;
    } else if (waiting) waiting = waiting.variadic ? waiting : undefined;
    else {
      const below = command.commands.find((c) => c.name() === word || c.aliases().includes(word));
      if (below && position === 0) command = below;
      else position++;
    }
  }
  return { command, waiting, position, onlyArguments };
}

const optionNamed = (command: Command, flag: string): Option | undefined =>
  command.options.find((o) => o.long === flag || o.short === flag);

const flags = (command: Command): Candidate[] =>
  command
    .createHelp()
    .visibleOptions(command)
    .flatMap(({ long, short, description }) => {
      const value = long ?? short;
      return value ? [{ value, doc: description }] : [];
    });

const subcommands = (command: Command): Candidate[] =>
  command
    .createHelp()
    .visibleCommands(command)
    .map((c) => ({ value: c.name(), doc: c.description() }));

function ofOption(option: Option, sources: Sources): Partial<Answer> {
  if (option.argChoices) return { candidates: option.argChoices.map((value) => ({ value })) };
  const name = /[<[](.+?)(?:\.\.\.)?[>\]]/.exec(option.flags)?.[1] ?? '';
  return sources[name]?.() ?? {};
}

function ofArgument(command: Command, position: number, sources: Sources): Partial<Answer> {
  const listed = command.registeredArguments;
  const end = listed.at(-1);
  const argument = listed[position] ?? (end?.variadic ? end : undefined);
  if (!argument) return {};
  if (argument.argChoices) return { candidates: argument.argChoices.map((value) => ({ value })) };
  return sources[argument.name()]?.() ?? {};
}

function narrow({ candidates = [], paths = 'none' }: Partial<Answer>, start: string, before = ''): Answer {
  const fitting = candidates.filter(({ value }) => value.startsWith(start));
  return { candidates: fitting.map((c) => ({ ...c, value: before + c.value })), paths };
}
