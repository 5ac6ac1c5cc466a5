"""What can be typed next on a gptforge command line, and the scripts that ask for it in three shells.

Knows config schemas and what it is given; not which commands or options exist, not Hydra, not
torch. Where it has nothing to offer the shells complete file names.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass

from gptforge.arguments import SWEEP_KEYS, split_command
from gptforge.config.schema import Leaf, allows_none, leaves

SHELLS = ("bash", "zsh", "fish")


def candidates(words: Sequence[str], groups: Mapping[str, Sequence[str]], commands: Mapping[str, type]) -> list[str]:
    """Whole words that the last of `words` (those after `gptforge`) may become.

    `groups` are the option groups of the command that is typed, `commands` the schema of each by its one or
    two words.
    """
    *before, word = words or [""]
    if not before:
        return _starting((name.split()[0] for name in commands), word)
    command, rest = split_command(before, commands)
    second = [] if rest else [name.split()[-1] for name in commands if name.startswith(f"{command} ")]
    if command not in commands:
        return _starting(second, word)
    if command == "completion":
        return [] if rest else _starting(SHELLS, word)
    schema = commands.get(command)
    if schema is None or not is_dataclass(schema):
        return []
    if word.startswith("-"):
        return _starting(["--help"], word)
    keys = list(leaves(schema))
    if command == "train" and {"-m", "--multirun"} & set(rest):
        keys += SWEEP_KEYS.values()
    name, equals, value = word.partition("=")
    if equals:
        return _values(name, value, groups, keys)
    names = [*groups, *(leaf.name for leaf in keys)]
    return _starting([*second, *(f"{name}=" for name in names)], word) or _starting(_short_names(keys), word)


def _starting(words: Iterable[str], beginning: str) -> list[str]:
    return list(dict.fromkeys(word for word in words if word.startswith(beginning)))


def _values(name: str, value: str, groups: Mapping[str, Sequence[str]], keys: list[Leaf]) -> list[str]:
    """`name=value` for every value that begins so; in a sweep (a,b,) the one after the last comma."""
    before, comma, last = value.rpartition(",")
    known = groups.get(name) or [v for leaf in keys if name in (leaf.name, _short(leaf)) for v in _choices(leaf)]
    taken = before.split(",")
    return [f"{name}={before}{comma}{v}" for v in dict.fromkeys(known) if v.startswith(last) and v not in taken]


def _choices(leaf: Leaf) -> list[str]:
    choices: list[str] = list(leaf.meta["choices"])
    if not choices and (leaf.type is bool or leaf.type == bool | None):
        choices = ["true", "false"]
    return [*choices, "null"] if choices and allows_none(leaf.type) else choices


def _short(leaf: Leaf) -> str:
    return leaf.name.rpartition(".")[2]


def _short_names(keys: list[Leaf]) -> list[str]:
    """The last parts of keys that are unique, which may be typed alone."""
    names = [_short(leaf) for leaf in keys]
    return [f"{name}=" for name in names if names.count(name) == 1]


def script(shell: str) -> str:
    """The completion script for bash, zsh or fish."""
    return {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell]


# bash cuts words at = and : (COMP_WORDBREAKS) and puts back only what follows the last of them;
# so words are read from the line itself, and what bash has cut off is cut off the candidates.
_BASH = r"""# gptforge completion for bash: eval "$(gptforge completion bash)"
_gptforge() {
    local line=${COMP_LINE:0:COMP_POINT}
    local -a words
    read -r -a words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    local word=${words[${#words[@]} - 1]} cut=""
    local sign
    for sign in = :; do
        if [[ $COMP_WORDBREAKS == *$sign* && $word == *$sign* ]]; then
            local upto=${word%"${word##*"$sign"}"}
            (( ${#upto} > ${#cut} )) && cut=$upto
        fi
    done
    COMPREPLY=()
    local found
    while IFS= read -r found || [[ -n $found ]]; do
        [[ -n $found ]] && COMPREPLY+=("${found#"$cut"}")
    done < <("${words[0]}" __complete "${words[@]:1}" 2> /dev/null)
    if [[ ${#COMPREPLY[@]} -gt 0 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace 2> /dev/null
    fi
}
complete -o default -F _gptforge gptforge
"""

_ZSH = r"""#compdef gptforge
# gptforge completion for zsh: eval "$(gptforge completion zsh)", or a file _gptforge in $fpath
_gptforge() {
    local -a found open done
    found=(${(f)"$(${words[1]} __complete "${(@)words[2,CURRENT-1]}" "$PREFIX" 2> /dev/null)"})
    open=(${(M)found:#*=})
    done=(${found:#*=})
    if (( $#found )); then
        (( $#open )) && compadd -S '' -- $open
        (( $#done )) && compadd -- $done
    else
        compset -P '*='
        _files
    fi
}
if [[ ${funcstack[1]} == _gptforge ]]; then
    _gptforge "$@"
else
    compdef _gptforge gptforge
fi
"""

_FISH = r"""# gptforge completion for fish: gptforge completion fish | source
function __gptforge_find
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -l word (commandline --current-token --cut-at-cursor)
    set -g __gptforge_found ($words[1] __complete $words[2..-1] "$word" 2> /dev/null)
    test (count $__gptforge_found) -gt 0
end
complete --command gptforge --condition __gptforge_find --no-files --arguments '$__gptforge_found'
"""
