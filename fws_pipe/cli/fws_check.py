"""fws-check: tries whether a filter in any language keeps the contract, with no server at all."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fws_pipe.chain.commands import filters_dir, stage_path
from fws_pipe.errors import EXIT_USAGE, SystemRefusedError
from fws_pipe.pipes.blocks import BlockWriter, run_program, say
from fws_pipe.sdk.contract import CONVERSATIONS, FRAMES, JSON_LINES, Outcome, frames_to_pass
from fws_pipe.sdk.trial import try_filter

EXIT_FAULTY = 1
_ADAPTER = "lines"
_PATIENCE_S = 10.0

_EPILOG = """The filter gets frames on its stdin and must answer on its stdout. Each line tells a part of the contract:
ok, FAIL with the cure, or note for what is allowed but costs something. The contract: fws-pipe --help frames.

Exit codes: 0 the filter keeps it, 1 it doesn't, 2 an option makes no sense, 5 the command can't be started.
"""


def main() -> None:
    """Run fws-check."""
    arguments = make_parser().parse_args()
    run_program("fws-check", lambda: _run(arguments))


def make_parser() -> argparse.ArgumentParser:
    """fws-check's command line."""
    parser = argparse.ArgumentParser(
        prog="fws-check",
        usage="fws-check [--json | --lines] [--timeout SECONDS] -- COMMAND…\n       fws-check --vectors FOLDER",
        description="Tries whether a filter in any language keeps the contract.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json", action="store_true", help="it reads and writes lines of JSON, between to_json and from_json"
    )
    form.add_argument(
        "--lines", action="store_true", help="it reads and writes the lines of the adapter `lines`, which runs it"
    )
    parser.add_argument(
        "--timeout", type=float, default=_PATIENCE_S, metavar="SECONDS", help="how long an answer may take (10)"
    )
    parser.add_argument(
        "--vectors",
        metavar="FOLDER",
        help="write the frames that a filter is tried with to files, and what must come out of it",
    )
    parser.add_argument(
        "command", nargs="*", metavar="COMMAND", help="the filter; one word with blanks in it goes to /bin/sh"
    )
    return parser


def _run(arguments: argparse.Namespace) -> None:
    if arguments.vectors is not None:
        _write_vectors(Path(arguments.vectors))
    elif arguments.command:
        _check(_argv_of(arguments.command), arguments)
    else:
        say("fws-check: which filter? fws-check -- ./my-filter")
        sys.exit(EXIT_USAGE)


def _argv_of(command: Sequence[str]) -> Sequence[str]:
    """The command, as the stages of a chain are started: a word with blanks is shell text."""
    is_shell_text = len(command) == 1 and len(shlex.split(command[0], posix=False)) > 1
    return ["/bin/sh", "-c", command[0]] if is_shell_text else command


def _check(argv: Sequence[str], arguments: argparse.Namespace) -> None:
    form = JSON_LINES if arguments.json else FRAMES
    adapter = _ADAPTER if arguments.lines else None
    environment = {**os.environ, "PATH": stage_path(os.environ)}
    tried = argv if adapter is None else [str(filters_dir() / adapter), *argv]
    try:
        findings = list(try_filter(tried, form, form, environment, arguments.timeout, adapter))
    except OSError as error:
        raise SystemRefusedError(f"can't start {shlex.join(argv)}: {error.strerror}") from None
    output = BlockWriter()
    for finding in findings:
        output.add(f"{finding.outcome.value:4}  {finding.text}\n".encode())
    output.flush()
    if any(finding.outcome is Outcome.FAILED for finding in findings):
        sys.exit(EXIT_FAULTY)


def _write_vectors(folder: Path) -> None:
    """Write each conversation as frames and as lines of JSON, and what every filter must pass on of it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for conversation in CONVERSATIONS:
            passed = frames_to_pass(conversation)
            for form, ending in ((FRAMES, "mp"), (JSON_LINES, "jsonl")):
                for part, frames in (("in", conversation.frames), ("out", passed)):
                    (folder / f"{conversation.name}.{part}.{ending}").write_bytes(b"".join(map(form.encode, frames)))
    except OSError as error:
        raise SystemRefusedError(f"can't write to {folder}: {error.strerror}") from None
