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

import io
import os
import select
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, TypeVar

from fws_pipe.pipes.blocks import (
    STDERR,
    STDIN,
    STDOUT,
    BlockWriter,
    identity_of,
    input_source,
    read_frames,
    run_program,
    say,
    write_all,
)
from fws_pipe.protocol.actions import (
    ACCEPT,
    ACTION_TYPES,
    ALIVE,
    CLOSE,
    ENQUEUE,
    HOLD,
    JOIN,
    LEAVE,
    PUBLISH,
    REJECT,
    RESUME,
    SEND,
    WANT,
    check_action,
)
from fws_pipe.protocol.codec import Frame, FrameDecoder, encode, type_of
from fws_pipe.protocol.events import DATA, EVENT_TYPES, MESSAGE, REQUIRED_FIELDS, TICK
from fws_pipe.protocol.life import show_life_by
from fws_pipe.protocol.outgoing import Outgoing
from fws_pipe.sdk.joined_sends import JoinedSends, without_event

Event = dict[str, Any]
Ids = str | list[str]
Handler = Callable[[Event], object]
HandlerT = TypeVar("HandlerT", bound=Handler)

_get_ident = threading.get_ident

_ASYNC_FLAGS = 0x80 | 0x200
"""CO_COROUTINE and CO_ASYNC_GENERATOR of the module inspect, which takes long to load."""


_ENDING_HERE = EVENT_TYPES - {TICK}
"""What the sink throws away."""

_PLAIN_FIELDS = 5
"""A message as the front makes it: type, seq, time, id, data."""

_TICK_FIELDS = 3
"""A tick as the front makes it: type, seq, time. Nothing else has so few."""

_LATE_S = 0.25
"""A tick that comes so long after the last write doesn't wait for the end of the block: a filter that works slowly must
not pass for one that hangs.
"""


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
        self._actions: list[Frame] = []
        self._seq: int | None = None
        self._complained_of: set[str] = set()
        self._output: BlockWriter | None = None
        self._output_lock = threading.Lock()
        self._thread = threading.get_ident()
        self.text = TextWriter(_text_descriptor())
        self._is_last = os.environ.get("FWS_SINK_PIPE") == identity_of(STDOUT)
        """Whether nobody but the sink reads what we write: it drops all events but ticks."""
        self._joined = JoinedSends(self._actions.append) if self._is_last else None
        self.is_hosted = False
        """Whether fws-filter loads modules, each of which may call `run`, and runs them all together later."""

    def on(self, *types: str) -> Callable[[HandlerT], HandlerT]:
        """Decorate a handler of events of these types.

        Raises ValueError for a type that no event has, TypeError for a handler that would have to be awaited.
        """
        for kind in types:
            if kind not in EVENT_TYPES:
                raise ValueError(f"on({kind!r}): no event has this type; there are {', '.join(sorted(EVENT_TYPES))}")

        def register(handler: HandlerT) -> HandlerT:
            code = getattr(handler, "__code__", None)
            if code is not None and code.co_flags & _ASYNC_FLAGS:
                raise TypeError(f"{code.co_name}: a handler is a plain function or a generator, not async")
            for kind in types:
                self._handlers.setdefault(kind, []).append(handler)
            return handler

        return register

    def act(self, frame: Action) -> Action:
        """Queue an action behind the event at hand, whose `seq` it gets; another thread's is written at once.

        Raises ValueError for a known action with a wrong field: the mistake is the filter's, and here it shows.
        """
        is_ours = threading.get_ident() == self._thread
        if is_ours and self._seq is not None:
            frame.setdefault("seq", self._seq)
        kind = type_of(frame)
        if kind in ACTION_TYPES:
            problem = check_action(frame)
            if problem:
                raise ValueError(problem)
        if is_ours and self._joined is not None:
            self._joined.end()
        if is_ours or self._output is None:
            self._actions.append(frame)
        else:
            self._write(encode(frame), self._output)
        return frame

    def send(
        self, to: Ids | None, data: str | bytes, group: str | None, without: Ids | None, everywhere: bool
    ) -> Action:
        """Queue a `send` behind the event at hand. Raises ValueError for a wrong argument."""
        seq = self._seq
        if (
            type(to) is str
            and group is None
            and (without is None or type(without) is str)
            and type(everywhere) is bool
            and (type(data) is bytes or (type(data) is str and data.isascii()))
            and type(seq) is int
            and _get_ident() == self._thread
        ):  # nothing can be wrong with it
            if self._joined is not None:
                self._joined.add((to, without, everywhere), data, seq)
                return Action(type=SEND, to=to, data=data)
            if without is None and not everywhere:
                action = Action(type=SEND, to=to, data=data, seq=seq)
                self._actions.append(action)
                return action
        fields = {"to": to, "group": group, "except": without, "everywhere": everywhere or None, "data": data}
        return self.make(SEND, fields)

    def make(self, kind: str, fields: dict[str, Any]) -> Action:
        """Queue an action with those of these fields that aren't None. Raises ValueError for a wrong one."""
        return self.act(Action({"type": kind, **{name: value for name, value in fields.items() if value is not None}}))

    def show_life(self) -> None:
        """Say at once that this filter lives, though it returns no tick for a while. From any thread."""
        frame = encode({"type": ALIVE})
        if self._output is not None:
            self._write(frame, self._output)
        elif "FWS_STAGE" in os.environ:  # before `run`: in a server stdout is still the frames' own
            write_all(STDOUT, frame)

    def handle(self, event: Frame, out: Outgoing) -> None:
        """Pass on the event at hand, or what the handlers have made of it, then their actions.

        `finish` adds what is held back to be joined with what follows.
        """
        kind = event.get("type")
        if type(kind) is not str:
            kind = ""  # nobody's
        handlers = self._handlers.get(kind)
        if handlers is None or not self._is_complete(event, kind):
            if not self._is_last:
                out.pass_on()
            elif kind not in _ENDING_HERE:
                self.finish(out)
                out.pass_on()
            return
        self._seq = event.get("seq")
        ends_here = self._is_last and kind in _ENDING_HERE
        # What passes unchanged need not be encoded again; only scalars can be compared with what they were.
        before = event.copy() if not ends_here and kind == MESSAGE and len(event) == _PLAIN_FIELDS else None
        is_dropped = False
        if self._joined is not None and not ends_here:
            self.finish(out)  # what goes on must not overtake what has been sent
        try:
            for handler in handlers:
                result = handler(event)
                if result is not None and self._take(result, event) is DROP:
                    is_dropped = True
            if not is_dropped and not ends_here:
                if event == before:
                    out.pass_on()
                else:
                    out.add(encode(event))
            if self._actions:
                self._add_actions(out)
        except BaseException:
            self._take_back(self._seq, out)
            raise
        finally:
            self._seq = None

    def _take_back(self, seq: int | None, out: Outgoing) -> None:
        """Forget what the event at hand has made, whose handler has failed; what came before it goes out."""
        if self._joined is not None:
            self._joined.take_back(seq)
            self._actions[:] = [rest for action in self._actions if (rest := without_event(action, seq))]
            self._add_actions(out)
        self._actions.clear()

    def finish(self, out: Outgoing) -> None:
        """Add what has been sent and is held back."""
        if self._joined is not None:
            self._joined.end()
            self._add_actions(out)

    def _add_actions(self, out: Outgoing) -> None:
        if self._actions:
            out.add_all(self._actions)
            self._actions.clear()

    def _is_complete(self, event: Frame, kind: str) -> bool:
        """Whether handlers can count on its fields; jq makes an event without an `id` in no time."""
        if kind == MESSAGE and "id" in event and "data" in event:
            return True
        missing = [name for name in REQUIRED_FIELDS.get(kind, ()) if name not in event]
        if missing and kind not in self._complained_of:
            self._complained_of.add(kind)
            say(f"frame from {input_source()}: {kind}.{missing[0]}: is missing; such events pass on unhandled")
        return not missing

    def _take(self, result: object, event: Event) -> object:
        """Take what a handler has returned: an action, DROP, or a generator, which runs to its end."""
        if isinstance(result, Iterator):
            result = self._exhaust(result, event)
        if result is not DROP:
            self._act_unless_queued(result, event)
        return result

    def _exhaust(self, actions: Iterator[Any], event: Event) -> object:
        while True:
            try:
                self._act_unless_queued(next(actions), event)
            except StopIteration as end:
                return end.value

    def _act_unless_queued(self, made: object, event: Event) -> None:
        if made is None or made is event or isinstance(made, Action):
            return  # the event passes on by itself, and actions have been queued where they were made
        if isinstance(made, Mapping):
            self.act(Action(made))
        elif isinstance(made, Iterable) and not isinstance(made, (str, bytes)):
            for item in made:
                self._act_unless_queued(item, event)
        else:
            raise TypeError(f"a handler yields or returns actions, or DROP, got {made!r}")

    def _preamble(self) -> bytes:
        """What goes out before anything else: that this filter wants `data` events, and what was sent before `run`."""
        wants = [encode({"type": WANT, "events": [DATA]})] if DATA in self._handlers else []
        early = [encode(action) for action in self._actions]
        self._actions.clear()
        return b"".join(wants + early)

    def run(self) -> None:
        """Filter stdin to stdout until the end of input, and exit."""
        if not self.is_hosted:
            run_program(os.path.basename(sys.argv[0]), self._relay)

    def _relay(self) -> None:
        frames_in, frames_out = _take_pipes()
        sys.stdout = ServerStdout(self.text)
        self._output = output = BlockWriter(frames_out)
        self._write(self._preamble(), output)
        decoder = FrameDecoder(input_source())
        out = Outgoing(decoder, lambda block: self._queue(block, output))
        late = monotonic() + _LATE_S

        def flush() -> None:
            nonlocal late
            self.finish(out)
            self.text.flush()
            self._write(out.take(), output)
            late = monotonic() + _LATE_S

        try:
            for frame in read_frames(decoder, flush, frames_in):
                self.handle(frame, out)
                if len(frame) == _TICK_FIELDS and monotonic() > late:
                    flush()
        finally:
            # Also when a handler fails: what came before the event at fault has been done, and must not be lost.
            flush()

    def _queue(self, block: bytes, output: BlockWriter) -> None:
        with self._output_lock:
            output.add(block)

    def _write(self, block: bytes, output: BlockWriter) -> None:
        """Write this, behind what has been queued."""
        with self._output_lock:
            output.add(block)
            output.flush()


class TextWriter:
    """Lines for people, collected while a block is worked on.

    In a server they go into a pipe that is always drained, so they hold nothing up (see chain/stdout.py). They are
    written in pieces of whole lines that a pipe takes at once (PIPE_BUF, pipe(7)): by hand several filters share one
    stderr, and must not tear each other's lines.
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
        if not self._lines:
            return
        lines, self._lines, self._size = self._lines, [], 0
        try:
            write_all(self._descriptor, b"".join(lines))
        except OSError:
            # In a server its end of the pipe is always read. By hand the reader of our stderr has gone (`2>&1 | head`);
            # that is no reason to stop filtering.
            pass


class ServerStdout(io.TextIOBase):
    """What `print` writes to in a filter: text for people, away from the frames."""

    def __init__(self, writer: TextWriter) -> None:
        super().__init__()
        self._writer = writer
        self._line = ""

    def writable(self) -> bool:
        """Always true."""
        return True

    def write(self, text: str) -> int:
        """Pass on whole lines, and keep the rest until it is one."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._writer.add(line.encode(errors="backslashreplace") + b"\n")
        return len(text)

    def flush(self) -> None:
        """Write what there is, whole line or not."""
        if self._line:
            self._writer.add(self._line.encode(errors="backslashreplace"))
            self._line = ""
        self._writer.flush()


def _take_pipes() -> tuple[int, int]:
    """Move the frames' two descriptors out of the way, to where nobody else looks.

    A program that a handler starts, or `input`, would read frames from stdin, and what writes to descriptor 1 would get
    between them. So stdin is empty, and stdout is where text goes.
    """
    frames_in, frames_out = os.dup(STDIN), os.dup(STDOUT)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, STDIN)
    os.close(null)
    os.dup2(_text_descriptor(), STDOUT)
    return frames_in, frames_out


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
show_life_by(_filter.show_life)
on = _filter.on
run = _filter.run

if "FWS_STAGE" in os.environ:
    # In a server even what is printed before `run` must not get into the pipe.
    sys.stdout = ServerStdout(_filter.text)


def load_hosted(load: Callable[[], None]) -> None:
    """Load modules whose handlers shall run together: a `run` at the end of one of them does nothing."""
    _filter.is_hosted = True
    try:
        load()
    finally:
        _filter.is_hosted = False


def _made(kind: str, fields: dict[str, Any]) -> Action:
    return _filter.make(kind, fields)


def send(
    to: Ids | None = None,
    data: str | bytes = "",
    *,
    group: str | None = None,
    without: Ids | None = None,
    everywhere: bool = False,
) -> Action:
    """Send one message to a client, a list of clients, "*" or a group; not to those in `without`.

    str goes out as text, bytes as binary. `everywhere`: to the clients of the other servers as well that share our
    Redis. Raises ValueError for a wrong argument.
    """
    return _filter.send(to, data, group, without, everywhere)


def close(to: Ids, code: int | None = None, reason: str | None = None) -> Action:
    """Close a client with a code (1000 unless told) and a reason of at most 123 bytes. Raises ValueError."""
    return _made(CLOSE, {"to": to, "code": code, "reason": reason})


def join(client: str, group: str) -> Action:
    """Put a client into a group."""
    return _made(JOIN, {"id": client, "group": group})


def leave(client: str, group: str) -> Action:
    """Take a client out of a group."""
    return _made(LEAVE, {"id": client, "group": group})


def hold(client: str) -> Action:
    """Let the server read no more of what a client sends, until `resume`; other clients are served meanwhile.

    A hold ends with the chain: a filter that starts again gets the unfinished events again, and holds anew.
    """
    return _made(HOLD, {"id": client})


def resume(client: str) -> Action:
    """Let the server read a client again that is on hold."""
    return _made(RESUME, {"id": client})


def accept(client: str, auth: Mapping[str, Any] | None = None, subprotocol: str | None = None) -> Action:
    """With --gate: let a client in that asks to; `auth` is who it is, for the snapshots of its `open`.

    `subprotocol` is one of those that the client offers; unless it is given --subprotocol decides.
    """
    return _made(ACCEPT, {"id": client, "auth": auth, "subprotocol": subprotocol})


def reject(client: str, status: int | None = None, reason: str | None = None) -> Action:
    """With --gate: refuse a client, with an HTTP status (403 unless told) and a line of text."""
    return _made(REJECT, {"id": client, "status": status, "reason": reason})


def publish(channel: str, data: str | bytes) -> Action:
    """Publish to a channel of Redis, for every program that subscribes to it.

    Without Redis it comes back as a `consumer` event of this server.
    """
    return _made(PUBLISH, {"channel": channel, "data": data})


def enqueue(data: Any) -> Action:
    """Put something on the server's queue; it comes back as a `consumer` event without a channel."""
    return _made(ENQUEUE, {"data": data})


def alive() -> None:
    """Say that this filter lives, while it waits for something else, such as a database that is away.

    To be called every second or so meanwhile, from any thread; otherwise --stall-timeout takes it for one that hangs.
    """
    _filter.show_life()


def emit(frame: Mapping[str, Any]) -> Action:
    """Write any frame, for stages behind that know it. Raises ValueError for a known action with a wrong field."""
    return _filter.act(Action(frame))


def tell(text: str) -> None:
    """Write text for people and a newline: to the server's own stdout, or to stderr where there is no server.

    It is written as it is, with your colours and line breaks. Text of others goes through `one_line` first: it may
    hold escape sequences that a terminal obeys.
    """
    _filter.text.add(text.encode(errors="backslashreplace") + b"\n")
