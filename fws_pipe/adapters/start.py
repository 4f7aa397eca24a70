"""Starts an adapter from its command line, and ends its process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from fws_pipe.adapters.arguments import Option, Words, help_text, parse_words
from fws_pipe.pipes.blocks import run_program


def run_adapter(name: str, summary: str, options: Sequence[Option], main: Callable[[Words], None]) -> NoReturn:
    """Run `main` with the parsed command line, and exit as every filter does. `--help` prints the options."""
    words = sys.argv[1:]
    if words[:1] in (["--help"], ["-h"]):
        sys.stdout.write(help_text(name, summary, options))
        sys.exit()
    run_program(name, lambda: main(parse_words(options, words)))


def die_of(number: signal.Signals) -> NoReturn:
    """End this process by a signal, as if it did not handle it."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the signal is blocked
