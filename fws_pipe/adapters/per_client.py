"""The main loop of `per_client`: a program for each client.

    open        -> starts the program
    message     -> the program's stdin       the program's stdout -> send
    disconnect  -> the end of its input      the program's end    -> close

Reads: frames on stdin, and the programs' output. Writes: frames on stdout, and the programs' input. All frames pass on
at once, ticks included: messages that a program has not finished are lost if it dies.

A program that does not read holds back its own client only: when its backlog exceeds 256 KiB (BACKLOG_BYTES) the client
is put on hold until the backlog is written. Messages that were events by then still arrive, so the backlog is bounded
by these 256 KiB and the client's share of the chain (--outbox-limit); for a client that has left, by the kernel's
buffers.

A program's output is read as fast as its client reads: after every 64 KiB (FLUSH_BYTES) the program waits until the
server has written them to the client. Only at the end, when no more events come, it doesn't wait.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fws_pipe.adapters.cgi import request_environment, without_requests
from fws_pipe.adapters.command import Command
from fws_pipe.adapters.complaints import Complaints
from fws_pipe.adapters.guard import Guard
from fws_pipe.adapters.loop import READABLE, Deadline, Loop
from fws_pipe.adapters.message_forms import BrokenOutputError, Message, MessageForm, NoSuchMessageError
from fws_pipe.adapters.program import Program
from fws_pipe.adapters.start import die_of
from fws_pipe.errors import FrameError, FwsError, SystemRefusedError
from fws_pipe.pipes.blocks import STDIN, STDOUT, BlockWriter, ReadBuffer, identity_of, input_source, say
from fws_pipe.pipes.event_faults import EventFaults
from fws_pipe.protocol.actions import CLOSE, FLUSH, HOLD, RESUME, SEND
from fws_pipe.protocol.codec import Frame, FrameDecoder, encode, type_of
from fws_pipe.protocol.events import DISCONNECT, EVENT_TYPES, FLUSHED, MESSAGE, OPEN, TICK
from fws_pipe.protocol.outgoing import Outgoing
from fws_pipe.system.signals import ending_of

_NORMAL = 1000
_UNSUPPORTED = 1003
_INTERNAL_ERROR = 1011
_TRY_AGAIN_LATER = 1013
"""Close codes (RFC 6455, section 7.4.1, and the IANA registry)."""

_BROKEN_OUTPUT = "the program's output is broken"
"""The reason of a Close when what a program has written is not in its form."""

FLUSH_BYTES = 64 * 1024
"""A program may write this much ahead of its client."""

GATHER_S = 0.0005
"""Output of one program may wait this long for the output of others, so that many messages go out as one block."""


class Rules(NamedTuple):
    """The settings of all programs."""

    command: Command
    make_form: Callable[[], MessageForm]
    max_programs: int
    """The most that run at a time."""
    shows_errors: bool = False
    """Whether a program's stderr goes to its client; otherwise it goes to the log."""


class PerClient:
    """Runs a program for each client."""

    def __init__(self, loop: Loop, guard: Guard, rules: Rules) -> None:
        self.loop = loop
        self.guard = guard
        self.rules = rules
        self.complaints = Complaints(rules.command.name)
        self._environment = without_requests(rules.command.environment)
        self._buffer = ReadBuffer()
        self._decoder = FrameDecoder(input_source())
        self._output = BlockWriter()
        self._out = Outgoing(self._decoder, self._output.add)
        self._is_last = os.environ.get("FWS_SINK_PIPE") == identity_of(STDOUT)
        """Whether our reader is the sink, which drops all events but ticks: then none are written."""
        self._sessions: dict[str, Session] = {}
        """By client id, the sessions whose client is connected and whose program runs."""
        self._running: set[Session] = set()
        """The sessions whose program runs."""
        self._written: dict[Session, None] = {}
        """The sessions that the current block has messages for."""
        self._unanswered: set[Session] = set()
        """The sessions whose program was written to and has not written since."""
        self._gathering: Deadline | None = None
        """The time at which the gathered output is written at the latest; None: none is gathered."""
        self._opened: set[str] = set()
        """Clients that have had an `open` and are here, with or without a program."""
        self._faults = EventFaults()
        self._handlers: dict[str, Callable[[str, Frame], None]] = {
            OPEN: self._open,
            MESSAGE: self._take_message,
            FLUSHED: self._take_flushed,
            DISCONNECT: self._take_disconnect,
        }
        self.is_at_end = False
        """Whether no more frames come: the server stops, or another chain takes over."""
        self._failure: FrameError | None = None
        self._is_terminated = False

    def run(self) -> None:
        """Run until stdin and all programs have ended. Raises FwsError, OutputClosedError."""
        try:
            self.loop.on_signal(signal.SIGTERM, self._terminate)
            self.loop.watch(STDIN, READABLE, self._read_frames)
            self.loop.run(self._flush_in_time)
            self._flush()
        finally:
            for session in list(self._running):
                session.kill()
        if self._is_terminated:
            die_of(signal.SIGTERM)
        if self._failure is not None:
            raise self._failure

    def _flush_in_time(self) -> None:
        """Write the gathered output, or wait for programs that are about to answer: large blocks cost less."""
        if not self._unanswered:
            self._flush()
        elif self._gathering is None:
            self._gathering = self.loop.call_later(GATHER_S, self._flush)

    def _flush(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        self._unanswered.clear()
        self._output.add(self._out.pop_all())
        self._output.flush()

    # Frames.

    def _read_frames(self) -> None:
        try:
            block = self._buffer.read(STDIN)
        except BlockingIOError:
            return
        except OSError as error:
            raise SystemRefusedError(f"can't read from {self._decoder.source}: {error.strerror}") from None
        try:
            if block:
                self._take_block(block)
                return
            self._decoder.finish()
        except FrameError as error:
            self._failure = error  # raised once the programs have ended
        self._end_input()

    def _take_block(self, block: bytes) -> None:
        self._output.add(self._out.pop_all())  # before the decoder forgets the bytes
        self._decoder.feed(block)
        try:
            for frame in self._decoder.frames():
                self._take(frame)
        finally:
            self._write_all()

    def _take(self, frame: Frame) -> None:
        kind = type_of(frame) or ""
        if not (self._is_last and kind in EVENT_TYPES and kind != TICK):
            self._out.pass_on()
        take = self._handlers.get(kind)
        if take is not None and self._faults.is_sound(frame, kind):
            take(frame["id"], frame)

    def _take_message(self, client: str, message: Frame) -> None:
        session = self._sessions.get(client)
        if session is not None:
            session.take(message["data"])
            self._written[session] = None
        elif client not in self._opened:
            self.complaints.tell(f"{client} has sent a message and has had no `open`, so no program runs for it")

    def _take_flushed(self, client: str, flushed: Frame) -> None:
        if session := self._sessions.get(client):
            session.note_flushed()

    def _take_disconnect(self, client: str, disconnected: Frame) -> None:
        self._opened.discard(client)
        if session := self._sessions.pop(client, None):
            session.leave()

    def _write_all(self) -> None:
        """Write the current block's messages to each program."""
        written, self._written = self._written, {}
        self._unanswered.update(written)
        for session in written:
            session.write()

    def _open(self, client: str, opened: Frame) -> None:
        if client in self._sessions:
            return  # a stage before repeats itself
        self._opened.add(client)
        if len(self._running) >= self.rules.max_programs:
            limit = f"{self.rules.max_programs} programs run, as many as --max allows"
            self.complaints.tell(f"{limit}; {client} is closed with 1013")
            self.close(client, _TRY_AGAIN_LATER, "too many programs are running")
            return
        command = self.rules.command._replace(environment={**self._environment, **request_environment(opened)})
        try:
            session = Session(self, client, command)
        except FwsError as error:
            self.complaints.tell(f"{error}; {client} is closed with 1011")
            self.close(client, _INTERNAL_ERROR, "the program can't be started")
            return
        self._sessions[client] = session
        self._running.add(session)

    def _end_input(self) -> None:
        """End all programs' input. Clients aren't closed when their programs exit: the server or another chain serves
        on.
        """
        self.loop.unwatch(STDIN)
        self.is_at_end = True
        for session in list(self._running):
            session.end()
        self._stop_if_done()

    def _terminate(self) -> None:
        self._is_terminated = True
        self.loop.unwatch(STDIN)
        self.is_at_end = True
        for session in list(self._running):
            session.terminate()
        self._stop_if_done()

    def _stop_if_done(self) -> None:
        if self.is_at_end and not self._running:
            self.loop.stop()

    # For sessions.

    def note_answer(self, session: Session) -> None:
        """Note that a program has written something."""
        self._unanswered.discard(session)

    def forget(self, session: Session) -> None:
        """Remove a session whose program has ended."""
        self._unanswered.discard(session)
        self._running.discard(session)
        if self._sessions.get(session.client) is session:
            del self._sessions[session.client]
        self._stop_if_done()

    def send(self, client: str, messages: list[Message]) -> None:
        """Send messages to a client."""
        if self._is_last and len(messages) > 1:
            self._act({"type": SEND, "to": client, "data": messages})
        else:
            for message in messages:
                self._act({"type": SEND, "to": client, "data": message})

    def close(self, client: str, code: int, reason: str) -> None:
        """Close a client."""
        self._act({"type": CLOSE, "to": client, "code": code, "reason": reason})

    def flush(self, client: str) -> None:
        """Ask the server for a `flushed` event once a client's outbox is empty."""
        self._act({"type": FLUSH, "id": client})

    def hold(self, client: str, *, is_held: bool) -> None:
        """Put a client on hold, or resume it."""
        self._act({"type": HOLD if is_held else RESUME, "id": client})

    def _act(self, action: Mapping[str, Any]) -> None:
        self._out.add(encode(dict(action)))


class Session:
    """One client and its program, which the constructor starts. Raises FwsError if the program can't be started."""

    def __init__(self, adapter: PerClient, client: str, command: Command) -> None:
        self.client = client
        self._adapter = adapter
        self._form = adapter.rules.make_form()
        self._waiting: list[bytes] = []
        """The current block's messages for the program."""
        self._is_held = False
        self._unflushed = 0
        """Bytes sent to the client since its outbox was last known to be empty."""
        self._has_left = False
        """Whether the client has left or was closed: nothing more is sent to it."""
        self._program = Program(
            adapter.loop, adapter.guard, command,
            on_output=self._take_output, on_end=self._note_end, on_room=self._note_room, on_error_line=self._take_error,
            may_close_output=True,
        )  # fmt: skip

    # From the client.

    def take(self, message: Message) -> None:
        """Take a message of the client; `write` passes it on."""
        try:
            self._waiting.append(self._form.to_input(message))
        except NoSuchMessageError as error:
            self._fail(_UNSUPPORTED, str(error))

    def write(self) -> None:
        """Write the taken messages to the program."""
        waiting, self._waiting = self._waiting, []
        self._program.write(b"".join(waiting))
        if self._program.is_full and not self._is_held and not self._has_left:
            self._is_held = True
            self._adapter.hold(self.client, is_held=True)

    def _note_room(self) -> None:
        if self._is_held and not self._has_left:
            self._is_held = False
            self._adapter.hold(self.client, is_held=False)

    def leave(self) -> None:
        """Note that the client has left, and end the program."""
        self._has_left = True
        self.end()

    def end(self) -> None:
        """End the program's input; unless it exits, signals follow."""
        self.write()
        self._program.resume_output()
        self._program.end()

    def terminate(self) -> None:
        """Send the program SIGTERM, and SIGKILL later."""
        self._program.resume_output()
        self._program.terminate()

    def kill(self) -> None:
        """Kill the program. The client isn't told."""
        self._program.kill()

    # From the program.

    def _take_output(self, block: bytes) -> None:
        self._adapter.note_answer(self)
        try:
            self._send(self._form.from_output(block))
        except BrokenOutputError as error:
            self._send(error.before)
            self._complain(str(error))
            self._fail(_INTERNAL_ERROR, _BROKEN_OUTPUT)
        if complaint := self._form.complaint():
            self._complain(complaint)

    def _send(self, messages: list[Message]) -> None:
        if not messages or self._has_left:
            return
        self._adapter.send(self.client, messages)
        self._unflushed += sum(map(len, messages))
        if self._unflushed >= FLUSH_BYTES and not self._adapter.is_at_end and not self._program.has_exited:
            self._unflushed = 0
            self._program.hold_output()
            self._adapter.flush(self.client)

    def note_flushed(self) -> None:
        """Read the program's output again: the client's outbox is empty."""
        self._unflushed = 0
        self._program.resume_output()

    def _take_error(self, line: bytes) -> None:
        text = line.decode(errors="replace")
        if self._adapter.rules.shows_errors:
            self._send([text])
        else:
            say(f"{self.client}: {text}")

    def _complain(self, text: str) -> None:
        self._adapter.complaints.tell(f"{self.client}: {text}")

    def _fail(self, code: int, reason: str) -> None:
        """Close the client, and end the program."""
        if not self._has_left:
            self._adapter.close(self.client, code, reason)
        self._has_left = True
        self._program.resume_output()
        self._program.end()

    def _note_end(self, status: int) -> None:
        code, reason = (_INTERNAL_ERROR, f"the program {ending_of(status)}") if status else (_NORMAL, "")
        try:
            self._send(self._form.finish())
        except BrokenOutputError as error:
            self._complain(str(error))
            code, reason = _INTERNAL_ERROR, reason or _BROKEN_OUTPUT
        if not self._has_left and not self._adapter.is_at_end:
            self._adapter.close(self.client, code, reason)
        self._has_left = True
        self._adapter.forget(self)
