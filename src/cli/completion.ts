/** `attn-vk completion`: the script that makes a shell complete commands, options, files and settings. */
import { Argument, type Command, Option } from 'commander';
import { type Answer, complete, type Sources } from './complete.js';
import { print } from './output.js';

/** Lines that a script reads: `value<Tab>description` or a value alone, and last what paths the shell may add. */
export const lines = ({ candidates, paths }: Answer): string[] => [
  ...candidates.map(({ value, doc }) => (doc ? `${value}\t${doc}` : value)),
  ...(paths === 'none' ? [] : [`:${paths}`]),
];

const shells = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof shells)[number];

export function completionCommand(program: Command, sources: Sources): void {
  program
    .command('completion')
    .description('print the script that makes a shell complete what is typed after attn-vk')
    .addArgument(new Argument('<shell>', 'which shell').choices(shells))
    .addHelpText('after', `\n${Object.values(how).join('\n')}`)
    .action((shell: Shell) => print(scripts[shell]));
  program
    .command('complete', { hidden: true })
    .addOption(new Option('--shell <shell>').choices(shells).makeOptionMandatory())
    .argument('[words...]')
    .action((words: string[], { shell }: { shell: Shell }) => {
      const whole = shell === 'bash' ? rejoin(words) : words;
      const answer = complete(program, whole, sources);
      const out = lines(shell === 'bash' ? afterEquals(answer, whole.at(-1) ?? '') : answer);
      if (out.length > 0) print(out.join('\n'));
    });
}

/** Bash hands `a=b` over as three words. */
function rejoin(words: readonly string[]): string[] {
  const whole: string[] = [];
  let glue = false;
  for (const word of words) {
    if (whole.length > 0 && (glue || word === '=')) whole[whole.length - 1] += word;
    else whole.push(word);
    glue = word === '=';
  }
  return whole;
}

/** And it replaces what stands behind the `=` alone. */
function afterEquals(answer: Answer, last: string): Answer {
  const cut = last.lastIndexOf('=') + 1;
  return { ...answer, candidates: answer.candidates.map((c) => ({ ...c, value: c.value.slice(cut) })) };
}

const how: Record<Shell, string> = {
  bash: 'bash, in ~/.bashrc:                     source <(attn-vk completion bash)',
  zsh: 'zsh, in ~/.zshrc, after compinit:       source <(attn-vk completion zsh)',
  fish: 'fish, in ~/.config/fish/config.fish:    attn-vk completion fish | source',
};

/** Each asks the program that is being typed, so that it need not be on the PATH. */
const scripts: Record<Shell, string> = {
  bash: `# bash completion for attn-vk
_attn_vk() {
  local line paths= cur=\${COMP_WORDS[COMP_CWORD]}
  [[ $cur == = ]] && cur=
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :files | :folders) paths=$line ;;
      *)
        line=\${line%%$'\\t'*}
        COMPREPLY+=("$line")
        [[ $line == *= ]] && compopt -o nospace
        ;;
    esac
  done < <("\${COMP_WORDS[0]}" complete --shell bash -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  if [[ $paths ]]; then
    compopt -o filenames
    [[ $paths == :files ]] && paths=-f || paths=-d
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen "$paths" -- "$cur")
  fi
}
complete -F _attn_vk attn-vk`,
  zsh: `#compdef attn-vk
_attn_vk() {
  local line paths
  local -a whole open
  while IFS= read -r line; do
    case $line in
      (:files|:folders) paths=$line; continue ;;
    esac
    line=\${line//:/\\\\:}
    case \${line%%$'\\t'*} in
      (*=) open+=("\${line/$'\\t'/:}") ;;
      (*) whole+=("\${line/$'\\t'/:}") ;;
    esac
  done < <("\${words[1]}" complete --shell zsh -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  (( \${#whole} )) && _describe 'attn-vk' whole
  (( \${#open} )) && _describe 'attn-vk' open -S ''
  [[ $paths == :files ]] && _files
  [[ $paths == :folders ]] && _files -/
  return 0
}
compdef _attn_vk attn-vk`,
  fish: `# fish completion for attn-vk
function __attn_vk
  set -l words (commandline -opc)
  set -l last (commandline -ct)
  for line in ($words[1] complete --shell fish -- $words[2..-1] "$last" 2>/dev/null)
    switch $line
      case ':files'
        __fish_complete_path "$last"
      case ':folders'
        __fish_complete_directories "$last"
      case '*'
        echo $line
    end
  end
end
complete -c attn-vk -f -a '(__attn_vk)'`,
};
