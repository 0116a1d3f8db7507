/** What shells offer after attn-vk, asked of the shells themselves. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { attentionKinds } from '../../src/attention/registry.js';
import { attnVk, cli, scratch } from '../support/cli.js';

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
  return stdout.split('\n').filter(Boolean);
};

/** COMPREPLY after the words; bash makes words of their own of `=`. */
function bash(...words: string[]): string[] {
  const list = ['attn-vk', ...words].map((w) => `'${w}'`).join(' ');
  return ask(
    'bash',
    `source <(attn-vk completion bash)
     complete -p attn-vk >/dev/null || exit 9
     compopt() { :; }
     COMP_WORDS=(${list}); COMP_CWORD=${words.length}
     _attn_vk; printf '%s\\n' "\${COMPREPLY[@]}"`,
  );
}

describe('bash', () => {
  test('commands, without the hidden one', () => {
    const commands = bash('');
    expect(commands).toEqual(expect.arrayContaining(['bench', 'completion', 'doctor', 'route', 'help']));
    expect(commands).not.toContain('complete');
    expect(bash('doc')).toEqual(['doctor']);
  });
  test('options of the command, and values that are choices', () => {
    expect(bash('route', '--de')).toEqual(['--device']);
    expect(bash('completion', '')).toEqual(['bash', 'zsh', 'fish']);
    expect(bash('bench', 'mem')).toEqual(['memory']);
    expect(bash('doctor', '--nonsense')).toEqual([]);
  });
  test('configurations, those of the package and those of the folder', () => {
    expect(bash('train', '')).toEqual(expect.arrayContaining(['configs/copy.flash.yaml', 'mine.yaml']));
    expect(bash('train', 'mi')).toEqual(['mine.yaml']);
    expect(bash('inspect', 'r')).toEqual(['runs']);
  });
  test('settings, and their values', () => {
    expect(bash('train', '--set', 'train.st')).toEqual(['train.steps=']);
    const kinds = bash('train', '--set', 'model.attention.kind', '=', '');
    expect(kinds).toEqual(attentionKinds.map(({ kind }) => kind));
    expect(bash('train', '--set', 'model.attention.kind', '=', 'hol')).toEqual(['holo']);
    expect(bash('train', '--set', 'model.attention.kind', '=')).toEqual(kinds);
    expect(bash('data', 'info', 'enw')).toEqual(['enwik8']);
  });
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
