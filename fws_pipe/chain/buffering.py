"""How programs that keep their output back are made to write at once. No I/O.

The C library and most languages collect what goes into a pipe, 4 KiB or more, where they would write each line to a
terminal (setvbuf(3)). In a chain that looks like a filter that hangs.
"""

from __future__ import annotations

import re

_CURES = {
    "jq": "give jq the option --unbuffered",
    "sed": "give sed the option -u",
    "grep": "give grep the option --line-buffered",
    "egrep": "give egrep the option --line-buffered",
    "mawk": "give mawk the option -Winteractive",
    "gawk": "call fflush() in gawk after each print",
    "awk": "call fflush() in awk after each print, or with mawk give the option -Winteractive",
    "python": "give python the option -u, or print with flush=True",
    "python3": "give python3 the option -u, or print with flush=True",
    "perl": "set $| = 1 in perl",
    "ruby": "set $stdout.sync = true in ruby",
    "lua": 'call io.stdout:setvbuf("no") in lua',
    "tcpdump": "give tcpdump the option -l",
}
_GENERAL = "flush its output after each {unit}, or run it under: stdbuf -oL"
_WORD = re.compile(r"[\w.+/-]+")


def cure_for(command: str, unit: str = "frame") -> str:
    """What makes the program of a command, as shell text, write at once: the first program in it that is known.

    `unit` is what it writes: frames, or lines.
    """
    return _known_cure(command) or _GENERAL.format(unit=unit)


def mend_for(command: str) -> str:
    """What to do about a stage that has read its input and passes no tick on: it keeps output back, or is no filter."""
    return _known_cure(command) or (
        f'if it works on lines of text, run it under an adapter: "per_client {command}"; a filter passes on ticks, '
        "and writes what it has before it waits"
    )


def _known_cure(command: str) -> str | None:
    names = (word.rsplit("/", 1)[-1] for word in _WORD.findall(command))
    return next((_CURES[name] for name in names if name in _CURES), None)
