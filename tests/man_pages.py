"""Makes the man pages, fws_pipe/docs/man1, from the commands' own parsers: `python -m tests.man_pages`.

They are kept in the repository, since building the package should need none of its dependencies. The same text comes
out with every Python version, which argparse-manpage, that asks argparse for the usage, doesn't promise.
tests/structure/test_man_pages.py says when one is out of date.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence

from fws_pipe.cli.commands import Command, actions_of, all_commands, subcommands_of, takes_value
from fws_pipe.config.topics import DOCS, TOPICS

MAN = DOCS / "man1"

_DATE = "2026-11-27"
"""man(7) wants one; it is that of this form of the pages."""


def pages() -> dict[str, str]:
    """The text of each page, by the name of its file."""
    commands = all_commands()
    return {f"{command.name}.1": _page(command, commands) for command in commands}


def _page(command: Command, commands: Sequence[Command]) -> str:
    others = [f".BR {_escaped(other.name)} (1)" for other in commands if other.name != command.name]
    body = _of_parser(command.parser) if command.parser is not None else _of_help(command.help)
    return "\n".join([
        f'.TH {_escaped(command.name).upper()} 1 {_DATE} fws\\-pipe',
        ".SH NAME", f"{_escaped(command.name)} \\- {_escaped(command.summary)}",
        *body,
        ".SH SEE ALSO", " ,\n".join(others),
        ".PP", "The documents:", *_text(_documents()),
    ]) + "\n"  # fmt: skip


def _documents() -> str:
    return ", ".join(f"fws-pipe --help {topic}" for topic in TOPICS) + "."


def _of_help(text: str) -> list[str]:
    usage, _, rest = text.partition("\n\n")
    lines = [line.removeprefix("usage: ").strip() for line in usage.splitlines()]
    return [".SH SYNOPSIS", *_literal(lines), ".SH DESCRIPTION", *_paragraphs(rest)]


def _of_parser(parser: argparse.ArgumentParser) -> list[str]:
    nested = subcommands_of(parser)
    page = [".SH SYNOPSIS", f".B {_escaped(parser.prog)}", _escaped(" ".join(_synopsis(parser)))]
    page += [".SH DESCRIPTION", *_paragraphs(parser.description or "")]
    for group in parser._action_groups:  # argparse has no public name for them
        actions = [action for action in group._group_actions if action in actions_of(parser) and action.nargs != "A..."]
        if actions:
            page += [f".SH {_title(group.title)}", *[line for action in actions for line in _entry(action)]]
    if nested:
        page += [".SH COMMANDS", *[line for name, child in nested.items() for line in _nested(name, child)]]
    return [*page, ".SH NOTES", *_literal((parser.epilog or "").splitlines())] if parser.epilog else page


def _title(title: str | None) -> str:
    return {"positional arguments": "ARGUMENTS"}.get(title or "", title or "").upper()


def _synopsis(parser: argparse.ArgumentParser) -> list[str]:
    return ["[OPTION...]", *[_operand(action) for action in actions_of(parser) if not action.option_strings]]


def _operand(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    forms = {"?": f"[{name}]", "*": f"[{name}...]", "+": f"{name}...", "A...": f"{name} ..."}
    return forms.get(str(action.nargs), name)


def _nested(name: str, parser: argparse.ArgumentParser) -> list[str]:
    page = [".TP", f".B {_escaped(' '.join([name, *_synopsis(parser)[1:]]))}", *_text(parser.description or "")]
    options = [action for action in actions_of(parser) if action.help and "-h" not in action.option_strings]
    return [*page, ".RS", *[line for action in options for line in _entry(action)], ".RE"] if options else page


def _entry(action: argparse.Action) -> list[str]:
    value = f" {action.metavar or action.dest.upper()}" if takes_value(action) else ""
    names = [f"\\fB{_escaped(name)}\\fR{_escaped(value)}" for name in action.option_strings]
    help_text = (action.help or "") % {"default": action.default, "prog": "the command"}
    return [".TP", ", ".join(names) or f"\\fB{_escaped(_operand(action))}\\fR", *_text(help_text)]


def _paragraphs(text: str) -> list[str]:
    """Text whose indented lines are examples."""
    page: list[str] = []
    for number, block in enumerate(text.strip("\n").split("\n\n")):
        lines = block.split("\n")
        page += [".PP"] if number else []
        page += _literal(lines) if lines[0].startswith("  ") else _text(" ".join(lines))
    return page


def _text(text: str) -> list[str]:
    """Lines of the page's source, at most as long as mandoc likes them: 80 bytes."""
    escaped = _escaped(" ".join(text.split()))
    return [_shielded(line) for line in textwrap.wrap(escaped, 76, break_on_hyphens=False, break_long_words=False)]


def _literal(lines: Sequence[str]) -> list[str]:
    """Lines as they are; an empty one is a space between paragraphs, which mandoc wants to be told."""
    shown = [_escaped(line) if line.strip() else "\\&" for line in lines]
    return [".nf", *shown, ".fi"]


def _escaped(text: str) -> str:
    """Text without escapes of man(7), and with hyphens that can be copied."""
    return _shielded(text.replace("\\", "\\e").replace("-", "\\-"))


def _shielded(line: str) -> str:
    """A line that is no request of man(7)."""
    return f"\\&{line}" if line.startswith((".", "'")) else line


def main() -> None:
    """Write all pages, and remove those of commands that are gone."""
    MAN.mkdir(exist_ok=True)
    made = pages()
    for path in MAN.iterdir():
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (MAN / name).write_text(text)


if __name__ == "__main__":
    main()
