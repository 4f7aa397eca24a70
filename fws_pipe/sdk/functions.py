"""Filters as functions.

    from fws_pipe.sdk import on, run, send

    @on("message")
    def shout(event):
        yield send(event["id"], event["data"].upper())

    run()

A handler gets one event of its type, as a dict. It may change it: the stages behind see the change. It returns DROP,
and they don't see it at all. What it sends goes out behind the event. Everything without a handler passes on, in order,
to the letter.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

from fws_pipe.protocol.actions import ACTION_TYPES, CLOSE, ENQUEUE, JOIN, LEAVE, PUBLISH, SEND, WANT, check_action
from fws_pipe.protocol.blocks import STDOUT, BlockWriter, frames_of_blocks, input_source, run_program, write_all
from fws_pipe.protocol.codec import Frame, encode
from fws_pipe.protocol.events import DATA, EVENT_TYPES

Event = dict[str, Any]
Ids = str | list[str]
Handler = Callable[[Event], object]
HandlerT = TypeVar("HandlerT", bound=Handler)

STDERR = 2


class _Drop:
    def __repr__(self) -> str:
        return "DROP"


DROP = _Drop()
"""What a handler returns so that the stages behind it don't see the event."""


class Action(dict[str, Any]):
    """An action that is on its way already; yielding it as well does nothing."""


class Filter:
    """The handlers of one filter, and the actions that they have made of the event at hand."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Handler]] = {}
        self._actions: list[Mapping[str, Any]] = []
        self._seq: int | None = None
        self.text = TextWriter(_text_descriptor())

    def on(self, *types: str) -> Callable[[HandlerT], HandlerT]:
        """Decorate a handler of events of these types. Raises ValueError for a type that no event has."""
        for kind in types:
            if kind not in EVENT_TYPES:
                raise ValueError(f"on({kind!r}): no event has this type; there are {', '.join(sorted(EVENT_TYPES))}")

        def register(handler: HandlerT) -> HandlerT:
            for kind in types:
                self._handlers.setdefault(kind, []).append(handler)
            return handler

        return register

    def act(self, action: Mapping[str, Any]) -> None:
        """Queue an action behind the event at hand, whose `seq` it gets.

        Raises ValueError for a known action with a wrong field: the mistake is the filter's, and here is where
        it shows.
        """
        frame = dict(action)
        if self._seq is not None:
            frame.setdefault("seq", self._seq)
        if frame.get("type") in ACTION_TYPES:
            problem = check_action(frame)
            if problem:
                raise ValueError(problem)
        self._actions.append(frame)

    def handle(self, event: Frame, raw: bytes) -> Iterator[bytes]:
        """What goes on instead of this event: itself, or what the handlers have made of it, then their actions."""
        handlers = self._handlers.get(event["type"]) if isinstance(event.get("type"), str) else None
        if handlers is None:
            yield raw
            return
        self._seq = event.get("seq")
        try:
            results = [self._call(handler, event) for handler in handlers]
            if DROP not in results:
                yield encode(event)
            yield from map(encode, self._actions)  # type: ignore[arg-type]  # made by `act`, hence dicts
        finally:
            self._actions.clear()
            self._seq = None

    def _call(self, handler: Handler, event: Event) -> object:
        """Run a handler to its end; returns what it returned."""
        result = handler(event)
        if isinstance(result, Iterator):
            return self._exhaust(result)
        if isinstance(result, Mapping) or (isinstance(result, Iterable) and not isinstance(result, (str, bytes))):
            self._act_unless_queued(result)
        return result

    def _exhaust(self, actions: Iterator[Any]) -> object:
        while True:
            try:
                self._act_unless_queued(next(actions))
            except StopIteration as end:
                return end.value

    def _act_unless_queued(self, made: object) -> None:
        if isinstance(made, Action) or made is None:
            return
        if isinstance(made, Mapping):
            self.act(made)
        elif isinstance(made, Iterable) and not isinstance(made, (str, bytes)):
            for item in made:
                self._act_unless_queued(item)
        else:
            raise TypeError(f"a handler yields actions, got {made!r}")

    def preamble(self) -> bytes:
        """What goes out before anything else: that this filter wants `data` events, if it does."""
        return encode({"type": WANT, "events": [DATA]}) if DATA in self._handlers else b""

    def run(self) -> NoReturn:
        """Filter stdin to stdout until the end of input."""
        run_program(os.path.basename(sys.argv[0]), self._relay)

    def _relay(self) -> None:
        output = BlockWriter(_frames_descriptor())

        def flush() -> None:
            self.text.flush()
            output.flush()

        output.add(self.preamble())
        output.flush()
        try:
            for frame, raw in frames_of_blocks(input_source(), flush):
                for piece in self.handle(frame, raw):
                    output.add(piece)
        finally:
            # Also when a handler fails: what came before the event at fault has been done, and must not be lost.
            flush()


class TextWriter:
    """Lines for people, collected while a block is worked on.

    Written in pieces of whole lines that a pipe takes at once (PIPE_BUF, pipe(7)), so that two stages that share the
    server's stdout don't tear each other's lines.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: list[bytes] = []
        self._size = 0

    def add(self, line: bytes) -> None:
        """Queue a line, newline included."""
        if self._size + len(line) > select.PIPE_BUF:
            self.flush()
        self._lines.append(line)
        self._size += len(line)

    def flush(self) -> None:
        """Write what is queued."""
        lines, self._lines, self._size = self._lines, [], 0
        try:
            write_all(self._descriptor, b"".join(lines))
        except OSError:
            # Whoever read the log has gone (`| head`); that is no reason to stop serving.
            pass


def _frames_descriptor() -> int:
    """Where frames go: stdout, moved out of the way of `print`, which would put text between them."""
    frames = os.dup(STDOUT)
    os.dup2(_text_descriptor(), STDOUT)
    return frames


def _text_descriptor() -> int:
    """Where text for people goes: the server's own stdout, or stderr outside of a server."""
    number = os.environ.get("FWS_STDOUT_FD", "")
    if number.isdecimal():
        try:
            os.fstat(int(number))
        except OSError:
            return STDERR  # the variable was inherited, the descriptor was not
        return int(number)
    return STDERR


_filter = Filter()
on = _filter.on
run = _filter.run


def _made(kind: str, fields: dict[str, Any]) -> Action:
    action = Action({"type": kind, **{name: value for name, value in fields.items() if value is not None}})
    _filter.act(action)
    return action


def send(
    to: Ids | None = None, data: str | bytes = "", *, group: str | None = None, without: Ids | None = None
) -> Action:
    """Send one message to a client, a list of clients, "*" or a group; not to those in `without`.

    str goes out as text, bytes as binary. Raises ValueError for anything else.
    """
    return _made(SEND, {"to": to, "group": group, "except": without, "data": data})


def close(to: Ids, code: int | None = None, reason: str | None = None) -> Action:
    """Close a client with a code (1000 unless told) and a reason of at most 123 bytes. Raises ValueError."""
    return _made(CLOSE, {"to": to, "code": code, "reason": reason})


def join(client: str, group: str) -> Action:
    """Put a client into a group."""
    return _made(JOIN, {"id": client, "group": group})


def leave(client: str, group: str) -> Action:
    """Take a client out of a group."""
    return _made(LEAVE, {"id": client, "group": group})


def publish(channel: str, data: str | bytes) -> Action:
    """Publish to a channel: to every program that subscribes to it, and to this server's `consumer` events."""
    return _made(PUBLISH, {"channel": channel, "data": data})


def enqueue(data: Any) -> Action:
    """Put something on the server's queue; it comes back as a `consumer` event without a channel."""
    return _made(ENQUEUE, {"data": data})


def emit(frame: Mapping[str, Any]) -> Action:
    """Write any frame, for stages behind that know it. Raises ValueError for a known action with a wrong field."""
    _filter.act(frame)
    return Action(frame)


def tell(text: str) -> None:
    """Write a line for people: on the server's own stdout, or on stderr where there is no server."""
    _filter.text.add(text.encode(errors="backslashreplace") + b"\n")
