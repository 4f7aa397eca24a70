"""Filters as functions.

    from fws_pipe.sdk import on, run, send

    @on("message")
    def shout(event):
        yield send(event["id"], event["data"].upper())

    run()

A handler gets one event of its type, as a dict. The next stages get the event as the handler leaves it: changed, or not
at all where the handler returns DROP. The handler's actions follow the event. A frame without a handler passes on in
order, byte for byte.
"""

from __future__ import annotations

import atexit
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
    write_all,
)
from fws_pipe.pipes.event_faults import EventFaults
from fws_pipe.protocol.actions import (
    ACCEPT,
    ACTION_TYPES,
    ALIVE,
    CLOSE,
    ENQUEUE,
    FLUSH,
    HOLD,
    JOIN,
    LEAVE,
    PUBLISH,
    REJECT,
    REMEMBER,
    RESUME,
    SEND,
    WANT,
    check_action,
)
from fws_pipe.protocol.codec import Frame, FrameDecoder, encode, type_of
from fws_pipe.protocol.events import DATA, EVENT_TYPES, MESSAGE, TICK
from fws_pipe.protocol.life import show_life_by
from fws_pipe.protocol.outgoing import Outgoing
from fws_pipe.sdk.failures import show_failure, tell_of_missing_run
from fws_pipe.sdk.joined_sends import JoinedSends, without_event

Event = dict[str, Any]
Ids = str | list[str]
Handler = Callable[[Event], object]
HandlerT = TypeVar("HandlerT", bound=Handler)

_get_ident = threading.get_ident

_ASYNC_FLAGS = 0x80 | 0x200
"""CO_COROUTINE and CO_ASYNC_GENERATOR of the module inspect, which takes long to load."""


_ENDING_HERE = EVENT_TYPES - {TICK}
"""The events that the sink drops: all but ticks."""

_PLAIN_FIELDS = 5
"""The number of fields of a message from the front: type, seq, time, id, data."""

_TICK_FIELDS = 3
"""The number of fields of a tick: type, seq, time. No other frame has so few."""

_LATE_S = 0.25
"""When the last write is longer ago than this, in seconds, a tick is written at once, before the end of its block: a
slow filter must not seem to hang.
"""


class _Drop:
    def __repr__(self) -> str:
        return "DROP"


DROP = _Drop()
"""A handler returns this to drop its event: the next stages don't get it."""


class Action(dict[str, Any]):
    """An action that is queued already: yielding or returning it has no further effect."""


class Filter:
    """The handlers of one filter, and the actions that they have made for the current event."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Handler]] = {}
        self._actions: list[Frame] = []
        self._seq: int | None = None
        self._faults = EventFaults()
        self._output: BlockWriter | None = None
        self._output_lock = threading.Lock()
        self._thread = threading.get_ident()
        self.text = TextWriter(_text_descriptor())
        self._is_last = os.environ.get("FWS_SINK_PIPE") == identity_of(STDOUT)
        """Whether this is the last stage, so that only the sink reads its output, and drops all events but ticks."""
        self._joined = JoinedSends(self._actions.append) if self._is_last else None
        self._may_miss_run = False
        """Whether a script, which must call `run` itself, has registered a handler."""
        self._has_run = False
        self.is_hosted = False
        """Whether fws-filter is loading modules: then `run` does nothing, and fws-filter runs all handlers later."""

    def on(self, *types: str) -> Callable[[HandlerT], HandlerT]:
        """Decorate a function as the handler of events of these types: it gets the event, a dict.

        It returns or yields actions, or None; DROP drops the event. Several handlers of a type run in order. Raises
        ValueError for an unknown type, TypeError for an async function.
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
            if not self._may_miss_run and getattr(handler, "__module__", "") == "__main__":
                self._may_miss_run = True
                atexit.register(self._tell_of_missing_run)
            return handler

        return register

    def act(self, frame: Action) -> Action:
        """Queue an action after the current event, whose `seq` it gets; from another thread it is written at once.

        Raises ValueError for a known action with a wrong field, where the filter's author sees it.
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
        """Queue a `send` after the current event; see the function `send`. Raises ValueError for a wrong argument."""
        seq = self._seq
        if (
            type(to) is str
            and group is None
            and (without is None or type(without) is str)
            and type(everywhere) is bool
            and (type(data) is bytes or (type(data) is str and data.isascii()))
            and type(seq) is int
            and _get_ident() == self._thread
        ):  # a valid send, without a check
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
        """Queue an action with these fields, without those that are None. Raises ValueError for a wrong one."""
        return self.act(Action({"type": kind, **{name: value for name, value in fields.items() if value is not None}}))

    def show_life(self) -> None:
        """Write an `alive` frame at once, since this filter returns no tick for a while. Safe in any thread."""
        frame = encode({"type": ALIVE})
        if self._output is not None:
            self._write(frame, self._output)
        elif "FWS_STAGE" in os.environ:  # before `run`; in a server stdout is the pipe of frames
            write_all(STDOUT, frame)

    def handle(self, event: Frame, out: Outgoing) -> None:
        """Run the handlers of the decoder's current frame, and add the frame and their actions to `out`.

        Sends may be held back, to be joined with later ones; `finish` adds them.
        """
        kind = event.get("type")
        if type(kind) is not str:
            kind = ""  # no handler's type
        handlers = self._handlers.get(kind)
        if handlers is None or not self._faults.is_sound(event, kind):
            if not self._is_last:
                out.pass_on()
            elif kind not in _ENDING_HERE:
                self.finish(out)
                out.pass_on()
            return
        self._seq = event.get("seq")
        ends_here = self._is_last and kind in _ENDING_HERE
        # An unchanged event isn't encoded again. That can only be seen for events of scalars, as plain messages are.
        before = event.copy() if not ends_here and kind == MESSAGE and len(event) == _PLAIN_FIELDS else None
        is_dropped = False
        if self._joined is not None and not ends_here:
            self.finish(out)  # this event must not overtake earlier sends
        try:
            for handler in handlers:
                result = handler(event)
                if result is not None and self._queue_result(result, event) is DROP:
                    is_dropped = True
            if not is_dropped and not ends_here:
                if event == before:
                    out.pass_on()
                else:
                    out.add(encode(event))
            if self._actions:
                self._add_actions(out)
        except BaseException:
            self._discard_actions(self._seq, out)
            raise
        finally:
            self._seq = None

    def _discard_actions(self, seq: int | None, out: Outgoing) -> None:
        """Drop the actions of the event `seq`, whose handler has failed; those of earlier events go out."""
        if self._joined is not None:
            self._joined.discard(seq)
            self._actions[:] = [rest for action in self._actions if (rest := without_event(action, seq))]
            self._add_actions(out)
        self._actions.clear()

    def finish(self, out: Outgoing) -> None:
        """Add the sends that are held back."""
        if self._joined is not None:
            self._joined.end()
            self._add_actions(out)

    def _add_actions(self, out: Outgoing) -> None:
        if self._actions:
            out.add_all(self._actions)
            self._actions.clear()

    def _queue_result(self, result: object, event: Event) -> object:
        """Queue a handler's result: an action, several, or DROP. A generator runs to its end; its own result counts."""
        if isinstance(result, Iterator):
            result = self._run_generator(result, event)
        if result is not DROP:
            self._act_unless_queued(result, event)
        return result

    def _run_generator(self, actions: Iterator[Any], event: Event) -> object:
        while True:
            try:
                self._act_unless_queued(next(actions), event)
            except StopIteration as end:
                return end.value

    def _act_unless_queued(self, made: object, event: Event) -> None:
        if made is None or made is event or isinstance(made, Action):
            return  # the event passes on by itself, and an Action is queued already
        if isinstance(made, Mapping):
            self.act(Action(made))
        elif isinstance(made, Iterable) and not isinstance(made, (str, bytes)):
            for item in made:
                self._act_unless_queued(item, event)
        else:
            raise TypeError(f"a handler yields or returns actions, or DROP, got {made!r}")

    def _preamble(self) -> bytes:
        """The first output: a `want` where a handler is for `data` events, and actions made before `run`."""
        wants = [encode({"type": WANT, "events": [DATA]})] if DATA in self._handlers else []
        early = [encode(action) for action in self._actions]
        self._actions.clear()
        return b"".join(wants + early)

    def run(self) -> None:
        """Filter stdin to stdout until the end of input, then exit with 0."""
        self._has_run = True
        if not self.is_hosted:
            sys.excepthook = show_failure
            run_program(os.path.basename(sys.argv[0]), self._filter_input)

    def _tell_of_missing_run(self) -> None:
        if not self._has_run:
            tell_of_missing_run(os.path.basename(sys.argv[0]))

    def _filter_input(self) -> None:
        frames_in, frames_out = _move_frame_pipes()
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
            self._write(out.pop_all(), output)
            late = monotonic() + _LATE_S

        try:
            for frame in read_frames(decoder, flush, frames_in):
                self.handle(frame, out)
                if len(frame) == _TICK_FIELDS and monotonic() > late:
                    flush()
        finally:
            # Also when a handler fails: the output of earlier events must not be lost.
            flush()

    def _queue(self, block: bytes, output: BlockWriter) -> None:
        with self._output_lock:
            output.add(block)

    def _write(self, block: bytes, output: BlockWriter) -> None:
        """Write a block at once, after what is queued."""
        with self._output_lock:
            output.add(block)
            output.flush()


class TextWriter:
    """Writes lines for people to a descriptor, collected until the current block is done.

    In a server this is a pipe that is always drained, so writing doesn't block (see chain/stdout.py). Lines are written
    in whole, as many as a pipe takes at once (PIPE_BUF, pipe(7)): by hand several filters share one stderr, and must
    not tear each other's lines.
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
            # By hand the reader of stderr may have gone (`2>&1 | head`); the filter goes on.
            pass


class ServerStdout(io.TextIOBase):
    """sys.stdout of a filter: `print` writes text for people, which must not get between the frames."""

    def __init__(self, writer: TextWriter) -> None:
        super().__init__()
        self._writer = writer
        self._line = ""

    def writable(self) -> bool:
        """Always true."""
        return True

    def write(self, text: str) -> int:
        """Write whole lines; keep an unfinished one until its end comes."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._writer.add(line.encode(errors="backslashreplace") + b"\n")
        return len(text)

    def flush(self) -> None:
        """Write all text so far, also an unfinished line."""
        if self._line:
            self._writer.add(self._line.encode(errors="backslashreplace"))
            self._line = ""
        self._writer.flush()


def _move_frame_pipes() -> tuple[int, int]:
    """Move the pipes of frames to other descriptors; returns those for reading and for writing.

    Otherwise `input`, or a program that a handler starts, would read frames from stdin, and text written to stdout
    would get between them. Afterwards stdin is empty, and stdout is for text.
    """
    frames_in, frames_out = os.dup(STDIN), os.dup(STDOUT)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, STDIN)
    os.close(null)
    os.dup2(_text_descriptor(), STDOUT)
    return frames_in, frames_out


def _text_descriptor() -> int:
    """The descriptor for text for people: the server's own stdout, or stderr outside of a server."""
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
    # In a server text printed before `run` must not get into the pipe, either.
    sys.stdout = ServerStdout(_filter.text)


def load_hosted(load: Callable[[], None]) -> None:
    """Call `load`, which imports modules whose handlers are to run together: their own calls of `run` do nothing."""
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
    """Send one message to a client's id, a list of ids, "*" (all clients) or a group, but not to the ids in `without`.

    `data` is a str, sent as text, or bytes, sent as binary. `everywhere` includes the clients of other servers on the
    same Redis. Raises ValueError for a wrong argument.
    """
    return _filter.send(to, data, group, without, everywhere)


def close(to: Ids, code: int | None = None, reason: str | None = None) -> Action:
    """Close the clients of these ids with a code (default 1000) and a reason of at most 123 bytes (RFC 6455, 7.1).

    Raises ValueError for a code that may not be sent, or a longer reason.
    """
    return _made(CLOSE, {"to": to, "code": code, "reason": reason})


def join(client: str, group: str) -> Action:
    """Put a client (its id) into a group, whose name has at most 1024 bytes. Raises ValueError for a longer one."""
    return _made(JOIN, {"id": client, "group": group})


def leave(client: str, group: str) -> Action:
    """Take a client (its id) out of a group. Raises ValueError for a wrong argument."""
    return _made(LEAVE, {"id": client, "group": group})


def remember(client: str, value: Any, name: str | None = None) -> Action:
    """Let the server remember a value for a client (its id), as long as it is connected; None forgets.

    After a restart of the chain the client's `open`, with `replay`, has it in `remembered`, a dict by name; `name`
    (default "value") keeps the values of several filters apart. The value is what msgpack can carry; a tuple comes back
    as a list. Raises ValueError for another, or one of over 16 KiB, which is the limit for all of a client's together.
    """
    # Not `_made`, for which None is no value.
    action = Action(type=REMEMBER, id=client, value=value)
    if name is not None:
        action["name"] = name
    return _filter.act(action)


def hold(client: str) -> Action:
    """Let the server read no more of what a client sends, until `resume`; other clients are served meanwhile.

    A hold ends with the chain: a filter that starts again gets the unfinished events again, and holds anew.
    """
    return _made(HOLD, {"id": client})


def resume(client: str) -> Action:
    """Let the server read a client again that is on hold."""
    return _made(RESUME, {"id": client})


def flush(client: str) -> Action:
    """Ask for a `flushed` event once the server has written all that has been sent to a client so far.

    So a filter that sends much doesn't exceed the client's outbox: it sends a part, asks, and goes on when it hears.
    """
    return _made(FLUSH, {"id": client})


def accept(client: str, auth: Mapping[str, Any] | None = None, subprotocol: str | None = None) -> Action:
    """With --gate: accept the handshake of a client (its id). Raises ValueError for a wrong argument.

    `auth` replaces the claims in its `open`, which snapshots repeat. `subprotocol` is one that the client offers;
    without it --subprotocol decides.
    """
    return _made(ACCEPT, {"id": client, "auth": auth, "subprotocol": subprotocol})


def reject(client: str, status: int | None = None, reason: str | None = None) -> Action:
    """With --gate: refuse the handshake of a client (its id) with an HTTP status (default 403) and a line of text.

    Raises ValueError for a status that is no error.
    """
    return _made(REJECT, {"id": client, "status": status, "reason": reason})


def publish(channel: str, data: str | bytes) -> Action:
    """Publish to a channel of Redis (PUBLISH), for every program that subscribes to it.

    Without Redis this server gets it, as a `consumer` event. Raises ValueError for a wrong argument.
    """
    return _made(PUBLISH, {"channel": channel, "data": data})


def enqueue(data: Any) -> Action:
    """Put a value that msgpack can carry on this server's queue: it returns as a `consumer` event without a channel."""
    return _made(ENQUEUE, {"data": data})


def alive() -> None:
    """Show that this filter lives while it waits for something, such as a database that is away.

    Call it about once a second meanwhile, from any thread; otherwise the server restarts the chain after
    --stall-timeout.
    """
    _filter.show_life()


def emit(frame: Mapping[str, Any]) -> Action:
    """Write any frame, for later stages that know its type. Raises ValueError for a known action with a wrong field."""
    return _filter.act(Action(frame))


def tell(text: str) -> None:
    """Write text for people, and a newline, to the server's own stdout; outside of a server to stderr.

    The text is written unchanged, with your colours and line breaks. Pass text from clients through
    `fws_pipe.terminal.one_line` first: it may hold escape sequences that a terminal obeys.
    """
    _filter.text.add(text.encode(errors="backslashreplace") + b"\n")
