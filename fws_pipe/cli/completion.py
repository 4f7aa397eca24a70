"""Completion of all commands for bash, zsh and fish, from their parsers and the option table.

It is made when it is asked for, so that it is that of the installed version. A chain is completed stage by stage, also
within quotes, which generators for any parser (shtab, argcomplete) don't do: for them it is one word.
"""

from __future__ import annotations

import argparse
import enum
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fws_pipe.cli.commands import Command, actions_of, all_commands, subcommands_of, takes_value
from fws_pipe.config.options import OPTIONS
from fws_pipe.config.topics import TOPICS


class Kind(enum.Enum):
    """What a value is, for a shell."""

    NONE = enum.auto()
    """There is no value."""
    TEXT = enum.auto()
    """Anything: nothing can be offered."""
    WORDS = enum.auto()
    FILE = enum.auto()
    FOLDER = enum.auto()
    CHAIN = enum.auto()


_KINDS = {
    "FILE": Kind.FILE, "KEYFILE": Kind.FILE, "PATH": Kind.FILE, "DIR": Kind.FOLDER, "CHAIN": Kind.CHAIN,
    "CHAIN|URL": Kind.CHAIN,
}  # fmt: skip
"""By what the help calls the value."""

_CHOICES = {option.key: option.choices for option in OPTIONS if option.choices}


@dataclass(frozen=True)
class Value:
    """What may stand in a place of a command line."""

    kind: Kind
    words: Sequence[str] = ()


@dataclass(frozen=True)
class Flag:
    """An option with all its names."""

    names: Sequence[str]
    text: str
    value: Value


@dataclass(frozen=True)
class Line:
    """A command line: options, and what else may stand in it."""

    name: str
    flags: Sequence[Flag]
    operand: Value

    @property
    def function(self) -> str:
        """The shell function that completes it."""
        return "_" + self.name.replace("-", "_")


def completion_for(shell: str, filters: Sequence[str]) -> str:
    """The text that a shell (of config.options.SHELLS) reads to complete all commands; `filters` are their names."""
    lines = [_line_of(command) for command in all_commands()]
    writers: dict[str, Callable[[Sequence[Line], Sequence[str]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    return writers[shell](lines, filters)


def _line_of(command: Command) -> Line:
    if command.parser is None:
        helps = Flag(("-h", "--help"), "print the usage", Value(Kind.NONE))
        operand = Value(Kind.WORDS, command.words) if command.words else Value(_operand_kind(command.help))
        return Line(command.name, [helps], operand)
    nested = subcommands_of(command.parser)
    actions = [action for parser in (command.parser, *nested.values()) for action in actions_of(parser)]
    flags = {tuple(action.option_strings): action for action in actions if action.option_strings}
    operands = [_value_of(action) for action in actions if not action.option_strings and not nested]
    operand = Value(Kind.WORDS, list(nested)) if nested else next(iter(operands), Value(Kind.TEXT))
    return Line(command.name, [_flag_of(action) for action in flags.values()], operand)


def _operand_kind(usage: str) -> Kind:
    """By what the usage calls the first argument."""
    words = usage.split()
    return Kind.CHAIN if words[2:3] == ["CHAIN"] else Kind.FILE


def _flag_of(action: argparse.Action) -> Flag:
    text = (action.help or "") % {"default": action.default, "prog": "the command"}
    return Flag(action.option_strings, text.partition(" (default:")[0], _value_of(action))


def _value_of(action: argparse.Action) -> Value:
    if not takes_value(action):
        return Value(Kind.NONE)
    words = action.choices or _CHOICES.get(action.dest, TOPICS if action.metavar == "TOPIC" else ())
    if words:
        return Value(Kind.WORDS, [str(word) for word in words])
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    return Value(Kind.TEXT if action.dest == "health_path" else _KINDS.get(metavar, Kind.TEXT))  # a path of URLs


# bash


_BASH_CHAIN = """\
# The last stage of a chain that is being typed: of "broadcast | std it completes std.
_fws_chain() {
    local last=${1##*[\\"\\'|( ]}
    local before=${1%"$last"} IFS=$'\\n'
    COMPREPLY=($(compgen -W "$FWS_FILTERS" -- "$last") $(compgen -c -- "${last:-/}"))
    COMPREPLY=("${COMPREPLY[@]/#/$before}")
    compopt -o nospace
}
_fws_words() { local IFS=$'\\n'; COMPREPLY=($(compgen -W "$1" -- "$2")); }
_fws_files() { local IFS=$'\\n'; compopt -o filenames; COMPREPLY=($(compgen "$1" -- "$2")); }
"""


def _bash(lines: Sequence[Line], filters: Sequence[str]) -> str:
    functions = "".join(_bash_function(line) for line in lines)
    return f"# bash completion of fws-pipe\n\nFWS_FILTERS={_bash_words(filters)}\n\n{_BASH_CHAIN}\n{functions}"


def _bash_function(line: Line) -> str:
    names = [name for flag in line.flags for name in flag.names]
    cases = "".join(
        f"        {'|'.join(flag.names)}) {_bash_action(flag.value)}; return ;;\n"
        for flag in line.flags
        if flag.value.kind is not Kind.NONE
    )
    return (
        f"{line.function}() {{\n    local cur=$2 prev=$3\n"
        "    if [[ $cur == = ]]; then cur=; elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi\n"
        f"    case $prev in\n{cases}    esac\n"
        f'    case $cur in\n        -*) _fws_words {_bash_words(names)} "$cur" ;;\n'
        f"        *) {_bash_action(line.operand)} ;;\n    esac\n}}\ncomplete -F {line.function} {line.name}\n\n"
    )


def _bash_words(words: Sequence[str]) -> str:
    return "$'" + "\\n".join(words) + "'"


def _bash_action(value: Value) -> str:
    actions = {
        Kind.WORDS: f'_fws_words {_bash_words(value.words)} "$cur"',
        Kind.FILE: '_fws_files -f "$cur"',
        Kind.FOLDER: '_fws_files -d "$cur"',
        Kind.CHAIN: '_fws_chain "$cur"',
    }
    return actions.get(value.kind, "COMPREPLY=()")


# zsh


def _zsh(lines: Sequence[Line], filters: Sequence[str]) -> str:
    chain = (
        '# The last stage of a chain that is being typed: of "broadcast | std it completes std.\n'
        f"_fws_chain() {{\n    local -a filters=({shlex.join(filters)})\n"
        "    compset -P '*[|( ]'\n    compadd -S '' -a filters\n    _command_names -e\n}\n"
    )
    functions = "".join(_zsh_function(line) for line in lines)
    return f"# zsh completion of fws-pipe\n\n{chain}\n{functions}"


def _zsh_function(line: Line) -> str:
    specs = [spec for flag in line.flags for spec in _zsh_specs(flag)]
    if line.operand.kind is not Kind.NONE:
        specs.append("*:argument" + _zsh_action(line.operand))
    quoted = " \\\n        ".join(_single_quoted(spec) for spec in specs)
    return f"{line.function}() {{\n    _arguments -s \\\n        {quoted}\n}}\ncompdef {line.function} {line.name}\n\n"


def _zsh_specs(flag: Flag) -> list[str]:
    text = "".join(f"\\{character}" if character in "[]:\\" else character for character in flag.text)
    if flag.value.kind is Kind.NONE:
        return [f"*{name}[{text}]" for name in flag.names]
    value = f"[{text}]:value{_zsh_action(flag.value)}"
    return [f"*{name}{'=' if name.startswith('--') else ''}{value}" for name in flag.names]


def _zsh_action(value: Value) -> str:
    actions = {
        Kind.WORDS: f":({' '.join(value.words)})",
        Kind.FILE: ":_files",
        Kind.FOLDER: ":_files -/",
        Kind.CHAIN: ":_fws_chain",
    }
    return actions.get(value.kind, ":")


# fish


_FISH_CHAIN = """\
# The last stage of a chain that is being typed: of "broadcast | std it completes std.
function __fws_chain
    set -l typed (commandline -ct | string trim -l -c "\\"'")
    set -l before (string replace -r '[^|( ]*$' '' -- $typed)
    for filter in $argv
        echo $before$filter
    end
end
"""


def _fish(lines: Sequence[Line], filters: Sequence[str]) -> str:
    commands = "".join(_fish_commands(line, filters) for line in lines)
    return f"# fish completion of fws-pipe\n\n{_FISH_CHAIN}\n{commands}"


def _fish_commands(line: Line, filters: Sequence[str]) -> str:
    operand = _fish_value(line.operand, filters, is_option=False)
    rows = [f"complete -c {line.name} {operand}"] if operand else []
    for flag in line.flags:
        names = " ".join(_fish_name(name) for name in flag.names)
        value = _fish_value(flag.value, filters, is_option=True)
        rows.append(
            " ".join(filter(None, [f"complete -c {line.name} {names}", value, f"-d {_fish_quoted(flag.text)}"]))
        )
    return "\n".join(rows) + "\n\n"


def _fish_name(name: str) -> str:
    if name.startswith("--"):
        return f"-l {name[2:]}"
    return f"-{'s' if len(name) == 2 else 'o'} {name[1:]}"


def _fish_value(value: Value, filters: Sequence[str], *, is_option: bool) -> str:
    required = "-x" if is_option else "-f"
    values = {
        Kind.NONE: "",
        Kind.TEXT: required,
        Kind.WORDS: f"{required} -a {_fish_quoted(' '.join(value.words))}",
        Kind.FILE: "-r -F" if is_option else "",
        Kind.FOLDER: f"{required} -a '(__fish_complete_directories)'",
        Kind.CHAIN: f"{required} -a '(__fws_chain {' '.join(filters)})'",
    }
    return values[value.kind]


def _single_quoted(text: str) -> str:
    """A text as one word of zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    """A text as one word of fish, which knows two escapes in single quotes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
