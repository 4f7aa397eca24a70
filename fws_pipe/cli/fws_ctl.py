"""fws-ctl: asks a running server through its control socket, for shells, cron and people."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
from collections.abc import Callable

from fws_pipe.cli.control_client import WINDOW, ControlClient, RefusedRequestError, add_server_options, connect_to
from fws_pipe.cli.trace_events import Join, as_columns, as_record
from fws_pipe.config.arguments import Parser, parse_all, parse_drain_over
from fws_pipe.errors import EXIT_UNFINISHED, UsageError
from fws_pipe.pipes.blocks import STDIN, BlockWriter, ReadBuffer, lines_of_blocks, run_program, say
from fws_pipe.protocol.actions import CLOSE, EVERYONE, SEND
from fws_pipe.protocol.codec import Frame, type_of
from fws_pipe.protocol.control import CLIENTS, DRAIN, RELOAD, REQUEST_LIMIT_BYTES, STAGES, STATUS, TAP, TAP_ENDED, TRACE
from fws_pipe.protocol.json_form import to_json, value_to_json
from fws_pipe.terminal import one_line

EXIT_NO_CLIENT = 1

_TIMEOUT_S = 10.0
_RELOAD_TIMEOUT_S = 60.0
"""A new chain may take ten seconds for its first tick, and the old one as long to finish."""

_RELOADING = (RELOAD, TAP, TRACE)
"""The commands that are answered by a new chain: a tap is a stage."""

_EPILOG = """  fws-ctl send '*' "Restart in five minutes"
  fws-ctl clients | jq -r .id
  tail -F access.log | fws-ctl send @admins
  fws-ctl tap | fws-cat
  fws-ctl trace --slow 50ms

It finds the server of this user by itself; when several run, --server names one of them, or --control (or
$FWS_CONTROL) its socket.
Exit codes: 0 done, or handed over to a client at least; 1 no such client, or none in the group; 2 the command line
makes no sense; 3 the new chain does not serve, so the old one goes on; 4 several servers run, and none is chosen;
5 no server, or it has not answered in time; 6 the tap or the trace was cut off."""


def main() -> None:
    """Run fws-ctl."""
    run_program("fws-ctl", lambda: _run(parse_all(make_parser(), sys.argv[1:])))


def make_parser() -> Parser:
    """fws-ctl's command line."""
    parser = Parser(
        prog="fws-ctl",
        description="Asks a running server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_server_options(parser, f"{_TIMEOUT_S:g}, for reload, tap and trace {_RELOAD_TIMEOUT_S:g}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    def add(name: str, run: Callable[[ControlClient, argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run, command=name)
        return command

    send = add(SEND, _send, "send TEXT, or each line of stdin, as a message")
    send.add_argument("to", metavar="ID|'*'|@GROUP", help="a client's id, everybody, or the clients in a group")
    send.add_argument("text", metavar="TEXT", nargs="?", help="the message; without it stdin is read")
    send.add_argument("--whole", action="store_true", help="all of stdin is one message")
    send.add_argument("--binary", action="store_true", help="messages are binary; without it only what isn't UTF-8 is")
    close = add(CLOSE, _close, "close a client, with a code and a reason")
    close.add_argument("to", metavar="ID|'*'")
    close.add_argument("code", metavar="CODE", nargs="?", type=int, default=1000)
    close.add_argument("reason", metavar="REASON", nargs="?", default="")
    add(CLIENTS, _list, "print each client as a line of JSON")
    add(STAGES, _list, "print each process, and what it uses, as a line of JSON")
    add(STATUS, _list, "print counters, gauges and what the server is as JSON")
    add(RELOAD, _ask, "replace the chain, as SIGHUP does, and wait until the new one serves")
    drain = add(DRAIN, _drain, "end the server in order, as SIGTERM does")
    drain.add_argument(
        "--over", type=_drain_over, metavar="TIME",
        help="close the clients one after the other over this time (30s, 5m), with 1012 and a hint when to return",
    )  # fmt: skip
    tap = add(TAP, _tap, "copy live frames to stdout")
    tap.add_argument(
        "stage", metavar="STAGE", nargs="?", help="what it writes: front, a stage's number or name, or sink"
    )
    trace = add(TRACE, _trace, "follow each event: when it left the front, passed each stage, and what it caused")
    trace.add_argument("--client", metavar="ID", help="only events of this client")
    trace.add_argument(
        "--slow", type=_duration, metavar="TIME", default=0.0, help="only events that took this long: 50ms, 0.2s"
    )
    trace.add_argument("--json", action="store_true", help="an object a line, for jq and fws-otlp")
    return parser


def _drain_over(text: str) -> float:
    try:
        return parse_drain_over(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, got {text!r}") from None


def _duration(text: str) -> float:
    """A time in seconds, given as 50ms or 0.2s."""
    number, factor = (text.removesuffix("ms"), 0.001) if text.endswith("ms") else (text.removesuffix("s"), 1.0)
    with contextlib.suppress(ValueError):
        seconds = float(number) * factor
        if text.endswith("s") and 0 <= seconds < math.inf:
            return seconds
    raise argparse.ArgumentTypeError(f"expected a time such as 50ms or 0.2s, got {text}")


def _run(arguments: argparse.Namespace) -> None:
    timeout_s = arguments.timeout or (_RELOAD_TIMEOUT_S if arguments.command in _RELOADING else _TIMEOUT_S)
    client = connect_to(arguments.control, timeout_s, arguments.server)
    try:
        arguments.run(client, arguments)
    finally:
        client.close()


def _ask(client: ControlClient, arguments: argparse.Namespace) -> None:
    client.ask({"type": arguments.command})


def _drain(client: ControlClient, arguments: argparse.Namespace) -> None:
    client.ask({"type": DRAIN} if arguments.over is None else {"type": DRAIN, "over": arguments.over})


def _list(client: ControlClient, arguments: argparse.Namespace) -> None:
    output = BlockWriter()
    client.write({"type": arguments.command})
    for frame in client.answers():
        output.add(to_json({name: value for name, value in frame.items() if name != "type"}))
    output.flush()


def _close(client: ControlClient, arguments: argparse.Namespace) -> None:
    client.ask({"type": CLOSE, "to": arguments.to, "code": arguments.code, "reason": arguments.reason})


# send


def _send(client: ControlClient, arguments: argparse.Namespace) -> None:
    if arguments.text is not None and arguments.whole:
        raise UsageError("--whole is for stdin; leave TEXT or --whole out")
    address = {"group": arguments.to[1:]} if arguments.to.startswith("@") else {"to": arguments.to}

    def message(raw: bytes) -> Frame:
        return {"type": SEND, **address, "data": raw if arguments.binary else _text_or_bytes(raw)}

    if arguments.text is not None:
        client.ask(message(os.fsencode(arguments.text)))
    elif arguments.whole:
        client.ask(message(_whole_stdin()))
    else:
        _send_lines(client, message, goes_on="group" in address or arguments.to == EVERYONE)


def _text_or_bytes(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _whole_stdin() -> bytes:
    blocks: list[bytes] = []
    buffer = ReadBuffer()
    while block := buffer.read_waiting(STDIN):
        blocks.append(block)
        if sum(map(len, blocks)) > REQUEST_LIMIT_BYTES:
            raise UsageError(f"stdin is over the limit of {REQUEST_LIMIT_BYTES} bytes for a message")
    return b"".join(blocks)


def _send_lines(client: ControlClient, message: Callable[[bytes], Frame], *, goes_on: bool) -> None:
    """Send each line of stdin; `goes_on`: also when one has found no client. Raises RefusedRequestError."""
    waiting = sent = missed = 0

    def take_answers(down_to: int) -> None:
        nonlocal waiting, missed
        while waiting > down_to:
            waiting -= 1
            try:
                list(client.answers())
            except RefusedRequestError as error:
                if not goes_on or error.exit_code != EXIT_NO_CLIENT:
                    raise
                missed += 1

    for line in lines_of_blocks(lambda: take_answers(0)):
        client.write(message(line))
        sent += 1
        waiting += 1
        take_answers(WINDOW - 1)
    take_answers(0)
    if missed:
        raise RefusedRequestError(f"{missed} of {sent} messages found no client", EXIT_NO_CLIENT)


# tap


def _tap(client: ControlClient, arguments: argparse.Namespace) -> None:
    request = {"type": TAP} if arguments.stage is None else {"type": TAP, "stage": arguments.stage}
    client.ask(request)
    output = BlockWriter()
    for frame, raw in client.stream():
        if type_of(frame) == TAP_ENDED:
            return
        output.add(raw)
        output.flush()
    say("fws-ctl: the tap was cut off, since stdout was read too slowly, or the server has died")
    sys.exit(EXIT_UNFINISHED)


# trace


def _trace(client: ControlClient, arguments: argparse.Namespace) -> None:
    client.ask({"type": TRACE})
    join = Join(arguments.client)
    output = BlockWriter()
    for frame, _raw in client.stream():
        if type_of(frame) == TAP_ENDED:
            say("fws-ctl: the trace has ended: the server ends, or another reload has replaced the chain")
            return
        for event in join.add(frame):
            if event.seconds >= arguments.slow:
                line = value_to_json(as_record(event, join)) if arguments.json else one_line(as_columns(event, join))
                output.add(f"{line}\n".encode())
        output.flush()
    say("fws-ctl: the trace was cut off, since stdout was read too slowly, or the server has died")
    sys.exit(EXIT_UNFINISHED)
