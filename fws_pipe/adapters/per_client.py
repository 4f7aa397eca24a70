"""The main loop of `per_client`: a program for each client.

    open        -> a program is started
    message     -> its stdin                 its stdout -> send
    disconnect  -> its end of input          its end    -> close

Reads: frames on stdin, what the programs write. Writes: frames on stdout, to the programs what they are to read. All
frames pass on at once, ticks included: what a program has been sent and has not dealt with is lost if it dies.

One that does not read holds back its own client only: when more than 256 KiB (BACKLOG_BYTES) wait for it the client is
put on hold until it has read them. What had become events by then still comes, so what waits is bounded by that and
the client's share of the chain (--outbox-limit), or, where the client has left, by what the kernel holds of it.

One that writes is read as fast as its client reads: after every 64 KiB (FLUSH_BYTES) it waits in its write until the
server has written them. Only where no more events come, at the end, it does not wait.
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
from fws_pipe.adapters.program import Program, describe_status
from fws_pipe.adapters.start import die_of
from fws_pipe.errors import FrameError, FwsError, SystemRefusedError
from fws_pipe.pipes.blocks import STDIN, STDOUT, BlockWriter, ReadBuffer, identity_of, input_source, say
from fws_pipe.protocol.actions import CLOSE, FLUSH, HOLD, RESUME, SEND
from fws_pipe.protocol.codec import Frame, FrameDecoder, encode
from fws_pipe.protocol.events import DISCONNECT, EVENT_TYPES, FLUSHED, MESSAGE, OPEN, TICK
from fws_pipe.protocol.outgoing import Outgoing

_NORMAL = 1000
_UNSUPPORTED = 1003
_INTERNAL_ERROR = 1011
_TRY_AGAIN_LATER = 1013
"""Close codes (RFC 6455, section 7.4.1, and the IANA registry)."""


FLUSH_BYTES = 64 * 1024
"""How much a program may write before its client has got it."""


GATHER_S = 0.0005
"""How long what one program has written may wait for the answers of others, so that many go out as one block."""


class Rules(NamedTuple):
    """What all programs have in common."""

    command: Command
    make_form: Callable[[], MessageForm]
    max_programs: int
    """How many may run at a time."""
    shows_errors: bool = False
    """Whether clients get what their programs write on stderr, and not the log."""


class PerClient:
    """All clients and their programs, and the way in and out."""

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
        """Whether only the sink reads what we write: it drops all events but ticks."""
        self._sessions: dict[str, Session] = {}
        """Those whose client is here and whose program runs."""
        self._running: set[Session] = set()
        """Those whose program runs."""
        self._written: dict[Session, None] = {}
        """Those that the block at hand has messages for."""
        self._unanswered: set[Session] = set()
        """Those that have been written to and have not written since."""
        self._gathering: Deadline | None = None
        """When what there is goes out at the latest; None: nothing waits."""
        self.is_at_end = False
        """Whether no more frames come: the server stops, or another chain takes over."""
        self._failure: FrameError | None = None
        self._is_terminated = False

    def run(self) -> None:
        """Run until all has ended. Raises FwsError for what has gone wrong, OutputClosedError."""
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
        """Write what there is, unless programs are about to answer: the stages behind work by the block."""
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
            self._failure = error  # told when the programs have ended
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
        kind = frame.get("type")
        if not (self._is_last and kind in EVENT_TYPES and kind != TICK):
            self._out.pass_on()
        client = frame.get("id")
        if not isinstance(client, str):
            return
        if kind == MESSAGE:
            session = self._sessions.get(client)
            if session is not None and isinstance(frame.get("data"), str | bytes):
                session.take(frame["data"])
                self._written[session] = None
        elif kind == FLUSHED:
            if session := self._sessions.get(client):
                session.note_flushed()
        elif kind == OPEN:
            self._open(client, frame)
        elif kind == DISCONNECT and (session := self._sessions.pop(client, None)):
            session.leave()

    def _write_all(self) -> None:
        """Write to each program what the block had for it."""
        written, self._written = self._written, {}
        self._unanswered.update(written)
        for session in written:
            session.write()

    def _open(self, client: str, opened: Frame) -> None:
        if len(self._running) >= self.rules.max_programs:
            self.complaints.tell(f"{self.rules.max_programs} programs run, as many as --max allows; 1013 for {client}")
            self.close(client, _TRY_AGAIN_LATER, "too many programs run already")
            return
        command = self.rules.command._replace(environment={**self._environment, **request_environment(opened)})
        try:
            session = Session(self, client, command)
        except FwsError as error:
            self.complaints.tell(f"{error}; 1011 for {client}")
            self.close(client, _INTERNAL_ERROR, "the program can't be started")
            return
        self._sessions[client] = session
        self._running.add(session)

    def _end_input(self) -> None:
        """No more frames come: the programs write their last, and nobody is closed by us."""
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

    # What sessions ask for.

    def note_answer(self, session: Session) -> None:
        """A program has written something."""
        self._unanswered.discard(session)

    def forget(self, session: Session) -> None:
        """A program has ended."""
        self._unanswered.discard(session)
        self._running.discard(session)
        if self._sessions.get(session.client) is session:
            del self._sessions[session.client]
        self._stop_if_done()

    def send(self, client: str, messages: list[Message]) -> None:
        """Send these to a client."""
        if self._is_last and len(messages) > 1:
            self._act({"type": SEND, "to": client, "data": messages})
        else:
            for message in messages:
                self._act({"type": SEND, "to": client, "data": message})

    def close(self, client: str, code: int, reason: str) -> None:
        """Close a client."""
        self._act({"type": CLOSE, "to": client, "code": code, "reason": reason})

    def flush(self, client: str) -> None:
        """Ask to hear when a client has been sent all."""
        self._act({"type": FLUSH, "id": client})

    def hold(self, client: str, *, is_held: bool) -> None:
        """Let the server read a client no more, or again."""
        self._act({"type": HOLD if is_held else RESUME, "id": client})

    def _act(self, action: Mapping[str, Any]) -> None:
        self._out.add(encode(dict(action)))


class Session:
    """One client and its program, which is started when this is made. Raises FwsError when it can't be."""

    def __init__(self, adapter: PerClient, client: str, command: Command) -> None:
        self.client = client
        self._adapter = adapter
        self._form = adapter.rules.make_form()
        self._waiting: list[bytes] = []
        """What the block at hand has for the program."""
        self._is_held = False
        self._unflushed = 0
        """How many bytes the client has been sent since it was last known to have got all."""
        self._has_left = False
        """Whether the client has gone, or has been closed: nothing more is sent to it."""
        self._program = Program(
            adapter.loop, adapter.guard, command,
            on_output=self._take_output, on_end=self._note_end, on_room=self._note_room, on_error_line=self._take_error,
            may_close_output=True,
        )  # fmt: skip

    # From the client.

    def take(self, message: Message) -> None:
        """The client has sent a message."""
        try:
            self._waiting.append(self._form.to_input(message))
        except NoSuchMessageError as error:
            self._fail(_UNSUPPORTED, str(error))

    def write(self) -> None:
        """Write what has been taken."""
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
        """The client has gone."""
        self._has_left = True
        self.end()

    def end(self) -> None:
        """Nothing more comes: let the program end."""
        self.write()
        self._program.resume_output()
        self._program.end()

    def terminate(self) -> None:
        """Let the program end soon."""
        self._program.resume_output()
        self._program.terminate()

    def kill(self) -> None:
        """End the program at once, and say nothing of it."""
        self._program.kill()

    # From the program.

    def _take_output(self, block: bytes) -> None:
        self._adapter.note_answer(self)
        try:
            self._send(self._form.from_output(block))
        except BrokenOutputError as error:
            self._send(error.before)
            self._complain(str(error))
            self._fail(_INTERNAL_ERROR, "the program's output is broken")
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
        """The client has been sent all."""
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
        """Close the client, and let the program end."""
        if not self._has_left:
            self._adapter.close(self.client, code, reason)
        self._has_left = True
        self._program.resume_output()
        self._program.end()

    def _note_end(self, status: int) -> None:
        try:
            self._send(self._form.finish())
        except BrokenOutputError as error:
            self._complain(str(error))
        if not self._has_left and not self._adapter.is_at_end:
            ending = f"the program {describe_status(status)}"
            self._adapter.close(self.client, _INTERNAL_ERROR if status else _NORMAL, ending if status else "")
        self._has_left = True
        self._adapter.forget(self)
