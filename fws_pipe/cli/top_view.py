"""What fws-top shows: two looks at a server become lines that fit into a terminal. No I/O.

    name, addresses | clients, journal, … | a line for each process, in the order of the pipes | counters

The narrower the terminal, the fewer columns: the least important go first, and at last the names are cut.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.control import FRONT, SINK
from fws_pipe.terminal import one_line

MOST_NAME = 40
"""The widest that names of processes become, in cells."""

_LEAST_NAME = 20
"""The narrowest where a third of the width holds as much, before columns go."""

_GAP = "  "
_UNKNOWN = "-"
_BAR = 10
_HIGH_SHARE = 0.5
"""From here on a pipe counts as full on the screen."""


class Style(Enum):
    """How text stands out."""

    PLAIN = "plain"
    BOLD = "bold"
    DIM = "dim"
    BRAKE = "brake"
    HIGH = "high"


class Span(NamedTuple):
    """Text of one style."""

    text: str
    style: Style = Style.PLAIN


Line = Sequence[Span]


class Look(NamedTuple):
    """What a server has told at one moment."""

    time: float
    """In seconds, by a clock that never goes back."""
    up_s: float
    """For how long the server has run, in seconds."""
    status: Frame
    stages: Sequence[Frame]


class Letters(NamedTuple):
    """What is drawn with: `plain_letters` where a terminal can't show the others."""

    full: str
    empty: str
    cut: str
    brake: str


LETTERS = Letters("█", "░", "…", "▶")
PLAIN_LETTERS = Letters("#", ".", "~", ">")


# Text in cells.


def cells(text: str) -> int:
    """How many cells of a terminal a line takes: wide letters take two, marks on letters none (Unicode UAX 11)."""
    if text.isascii():
        return len(text)
    return sum(map(_cells_of_letter, text))


def _cells_of_letter(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cut(text: str, width: int, mark: str) -> str:
    """The text, or as much of it as fits, with `mark` at its end."""
    if cells(text) <= width:
        return text
    used, kept = cells(mark), ""
    for letter in text:
        used += _cells_of_letter(letter)
        if used > width:
            break
        kept += letter
    return kept + mark if width >= cells(mark) else ""


def _fitted(text: str, width: int, mark: str) -> str:
    """The text in exactly so many cells, on their left."""
    text = cut(text, width, mark)
    return text + " " * (width - cells(text))


# Numbers.


def bytes_text(count: float) -> str:
    """A number of bytes in at most 8 cells: `999 B`, `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < (1000 if unit == "B" else 999.5):
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.0f} TiB"


def count_text(count: float) -> str:
    """A number in at most 7 cells: `12,345`, `1.2 M`."""
    return (
        f"{count:,.0f}" if count < 999_999.5 else f"{count / 1e6:,.1f} M" if count < 999e6 else f"{count / 1e9:,.0f} G"
    )


def duration_text(seconds: float) -> str:
    """A time: `59 s`, `1:02:03`, `3 d 4 h`."""
    whole = max(int(seconds), 0)
    minutes, days = whole // 60, whole // 86400
    if days:
        return f"{days} d {whole // 3600 % 24} h"
    return f"{minutes // 60}:{minutes % 60:02}:{whole % 60:02}" if minutes else f"{whole} s"


class _Stage:
    """One process at the later of two looks, and how it has changed since the earlier one."""

    def __init__(self, now: Frame, before: Frame | None, seconds: float) -> None:
        self.now = now
        self._before = before
        self._seconds = seconds

    def rate(self, *fields: str) -> float | None:
        """How fast the sum of these fields rises, a second; None where it can't be known."""
        if self._before is None or self._seconds <= 0:
            return None
        now = [self.now[field] for field in fields if self.now[field] is not None]
        before = [self._before[field] for field in fields if self._before[field] is not None]
        return None if len(now) + len(before) < 2 * len(fields) else max(sum(now) - sum(before), 0) / self._seconds

    @property
    def share(self) -> float | None:
        """How full its input is, from 0 to 1."""
        unread, capacity = self.now["unread"], self.now["capacity"]
        return None if unread is None or not capacity else min(unread / capacity, 1.0)


# Columns.


class _Column(NamedTuple):
    title: str
    width: int
    rank: int
    """Of two columns the one of the higher rank goes first when there is no room."""
    text: Callable[[_Stage, Letters], str]


def _shown(value: Any, text: Callable[[Any], str]) -> str:
    return _UNKNOWN if value is None else text(value)


def _bar(stage: _Stage, letters: Letters) -> str:
    share = stage.share
    if share is None:
        return ""
    # What waits at all shows.
    filled = min(max(round(share * _BAR), int(share > 0)), _BAR)
    return letters.full * filled + letters.empty * (_BAR - filled) + f"{share:5.0%}"


_INPUT = "INPUT"

_COLUMNS = (
    _Column(_INPUT, _BAR + 5, 1, _bar),
    _Column("EVENTS/S", 8, 5, lambda stage, _: _shown(stage.rate("events"), count_text)),
    _Column("READ/S", 8, 3, lambda stage, _: _shown(stage.rate("read"), bytes_text)),
    _Column("WRITTEN/S", 9, 4, lambda stage, _: _shown(stage.rate("written"), bytes_text)),
    _Column("CPU", 5, 0, lambda stage, _: _shown(stage.rate("user_s", "system_s"), "{:.0%}".format)),
    _Column("MEMORY", 8, 2, lambda stage, _: _shown(stage.now["memory"], bytes_text)),
    _Column("RESTARTS", 8, 6, lambda stage, _: _shown(stage.now["restarts"], count_text)),
    _Column("STATE", 8, 7, lambda stage, _: str(stage.now["state"])),
    _Column("PID", 7, 8, lambda stage, _: _shown(stage.now["pid"], str)),
)


def _columns_for(width: int) -> list[_Column]:
    """The most important columns that fit beside a name."""
    room, chosen = width, set()
    for column in sorted(_COLUMNS, key=lambda column: column.rank):
        room -= len(_GAP) + column.width
        if room < 0:
            break
        chosen.add(column.title)
    return [column for column in _COLUMNS if column.title in chosen]


# The parts of the screen.


def lines_of(before: Look, now: Look, width: int, letters: Letters = LETTERS) -> list[Line]:
    """What to show, from the top; no line is wider than `width` cells."""
    parts = (
        _heading(now, width, letters),
        _gauges(now, width, letters),
        [()],
        _processes(before, now, width, letters),
        _counters(before, now, width, letters),
    )
    return [line for part in parts for line in part]


def _heading(now: Look, width: int, letters: Letters) -> Iterator[Line]:
    status = now.status
    words = [
        f"fws-pipe {status['name']}", f"pid {status['pid']}", f"up {duration_text(now.up_s)}", *status["listening"]
    ]  # fmt: skip
    for index, text in enumerate(_wrapped(words, width, letters)):
        yield (Span(text, Style.PLAIN if index else Style.BOLD),)


def _gauges(now: Look, width: int, letters: Letters) -> Iterator[Line]:
    words = [f"{name}: {_amount(name, value)}" for name, value in now.status["gauges"].items()]
    words.append(f"bytes that wait for clients: {bytes_text(now.status['outboxes'])}")
    for text in _wrapped(words, width, letters):
        yield (Span(text),)


def _amount(name: str, value: int) -> str:
    return bytes_text(value) if name.startswith("bytes") else f"{value:,}"


def _wrapped(words: Iterable[str], width: int, letters: Letters) -> Iterator[str]:
    """The words on as few lines as hold them."""
    line = ""
    for word in map(one_line, words):
        longer = line + _GAP + word if line else word
        if line and cells(longer) > width:
            yield cut(line, width, letters.cut)
            longer = word
        line = longer
    if line:
        yield cut(line, width, letters.cut)


def _processes(before: Look, now: Look, width: int, letters: Letters) -> Iterator[Line]:
    names = [_name_in_chain(stage["name"], follows) for stage, follows in _with_places(now.stages)]
    longest = max(map(cells, names), default=0)
    columns = _columns_for(width - 2 - min(longest, _LEAST_NAME, width // 3))
    room = width - 2 - sum(len(_GAP) + column.width for column in columns)
    name_width = max(min(room, MOST_NAME, longest), 0)
    heads = [_GAP + f"{column.title:>{column.width}}" for column in columns]
    yield (Span(cut("  " + _fitted("", name_width, "") + "".join(heads), width, letters.cut), Style.DIM),)
    earlier = {(stage["name"], stage["pid"]): stage for stage in before.stages}
    for frame, name in zip(now.stages, names, strict=True):
        stage = _Stage(frame, earlier.get((frame["name"], frame["pid"])), now.time - before.time)
        yield _process(stage, _fitted(name, name_width, letters.cut), columns, width, letters)


def _process(stage: _Stage, name: str, columns: Sequence[_Column], width: int, letters: Letters) -> Line:
    is_brake = bool(stage.now["brake"])
    start = cut((letters.brake if is_brake else " ") + " " + name, width, letters.cut)
    spans = [Span(start, Style.BRAKE if is_brake else Style.PLAIN)]
    for column in columns:
        text = _GAP + f"{cut(column.text(stage, letters), column.width, letters.cut):>{column.width}}"
        is_high = column.title == _INPUT and (stage.share or 0.0) >= _HIGH_SHARE
        spans.append(Span(text, Style.HIGH if is_high else Style.PLAIN))
    return spans


def _with_places(stages: Sequence[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Each process, and whether it reads from the one before it."""
    is_in_chain = False
    for stage in stages:
        yield stage, is_in_chain
        end = stage["name"].rpartition(": ")[2]
        is_in_chain = end == FRONT or (is_in_chain and end != SINK)


def _name_in_chain(name: str, follows: bool) -> str:
    return one_line(f"| {name}" if follows else name)


def _counters(before: Look, now: Look, width: int, letters: Letters) -> Iterator[Line]:
    """The counters: those that rise first, and they stand out."""
    counters, earlier = now.status["counters"], before.status["counters"]
    rising = {name: count - earlier.get(name, 0) for name, count in counters.items()}
    seconds = max(now.time - before.time, 1e-9)
    if counters:
        yield ()
    for name, count in _rising_first(counters, rising):
        risen = rising[name]
        rate = f"{_GAP}+{count_text(risen / seconds)}/s" if risen > 0 else ""
        text = cut(f"{one_line(name)}: {count:,}{rate}", width, letters.cut)
        yield (Span(text, Style.BOLD if risen > 0 else Style.DIM),)


def _rising_first(counters: Mapping[str, int], rising: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counters.items(), key=lambda item: (rising[item[0]] <= 0, item[0]))


def shortened(lines: Sequence[Line], height: int, width: int, letters: Letters = LETTERS) -> list[Line]:
    """The lines that fit into a terminal's height, which is 1 or more; the last one tells how many do not."""
    if len(lines) <= height:
        return list(lines)
    more = cut(f"{letters.cut} {len(lines) - height + 1:,} more lines", width, letters.cut)
    return [*lines[: height - 1], (Span(more, Style.DIM),)]
