/** What shells offer after attn-vk, asked of the shells themselves. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { attentionKinds } from '../../src/attention/registry.js';
import { attnVk, cli } from '../support/cli.js';
import { scratch } from '../support/folders.js';

const folder = scratch();
const bin = join(folder, 'bin');
mkdirSync(bin);
writeFileSync(join(bin, 'attn-vk'), `#!/bin/sh\nexec '${process.execPath}' '${cli}' "$@"\n`);
chmodSync(join(bin, 'attn-vk'), 0o755);
writeFileSync(join(folder, 'mine.yaml'), '');
mkdirSync(join(folder, 'runs'));

const ask = (shell: string, script: string) => {
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}`, HOME: folder };
  const { status, stdout, stderr } = spawnSync(shell, ['-c', script], { cwd: folder, encoding: 'utf8', env });
  expect(status, stderr).toBe(0);
  return stdout.trimEnd().split('\n');
};

/** COMPREPLY after each of the lines, asked of one shell; bash makes words of their own of `=`. */
function bash(lines: readonly (readonly string[])[]): string[][] {
  const questions = lines.map((words) => {
    const list = ['attn-vk', ...words].map((w) => `'${w}'`).join(' ');
    return `COMP_WORDS=(${list}); COMP_CWORD=${words.length}; _attn_vk; echo "\${COMPREPLY[*]}"`;
  });
  const script = [
    'source <(attn-vk completion bash)',
    'complete -p attn-vk >/dev/null || exit 9',
    'compopt() { :; }',
  ];
  return ask('bash', [...script, ...questions].join('\n')).map((line) => line.split(' ').filter(Boolean));
}

describe('bash', () => {
  const commands = [
    'train',
    'eval',
    'sample',
    'inspect',
    'config',
    'data',
    'doctor',
    'route',
    'bench',
    'completion',
  ];
  const kinds = attentionKinds.map(({ kind }) => kind);
  const expected: [what: string, words: string[], offered: unknown][] = [
    ['commands, without the hidden one', [''], [...commands, 'help']],
    ['options', ['route', '--de'], ['--device']],
    ['choices', ['completion', ''], ['bash', 'zsh', 'fish']],
    ['nothing', ['doctor', '--nonsense'], []],
    [
      'configurations of the package and files',
      ['train', ''],
      expect.arrayContaining(['configs/copy.flash.yaml', 'mine.yaml']),
    ],
    ['folders', ['inspect', 'r'], ['runs']],
    ['settings', ['train', '--set', 'train.st'], ['train.steps=']],
    ['their values', ['train', '--set', 'model.attention.kind', '=', ''], kinds],
    ['values that have begun', ['train', '--set', 'model.attention.kind', '=', 'hol'], ['holo']],
    ['data sets', ['data', 'info', 'enw'], ['enwik8']],
  ];
  const offered = bash(expected.map(([, words]) => words));
  test.each(expected.map(([what, words, wanted], i) => ({ what, words, wanted, i })))(
    '$what: $words',
    ({ wanted, i }) => {
      expect(offered[i]).toEqual(wanted);
    },
  );
});

test.skipIf(spawnSync('zsh', ['--version']).status !== 0)('zsh takes the script', () => {
  expect(
    ask(
      'zsh',
      'autoload -Uz compinit; compinit -D -u; source <(attn-vk completion zsh); print $+functions[_attn_vk]',
    ),
  ).toEqual(['1']);
});

test.skipIf(spawnSync('fish', ['--version']).status !== 0)('fish offers commands', () => {
  expect(ask('fish', "attn-vk completion fish | source; complete -C 'attn-vk doc'")[0]).toMatch(/^doctor\t/);
});

test('a shell that is not known is wrong usage', () => {
  const { status, stdout, stderr } = attnVk(['completion', 'tcsh']);
  expect(status).toBe(2);
  expect(stdout).toBe('');
  expect(stderr).toContain('bash, zsh, fish');
});
