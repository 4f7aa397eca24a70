"""Sends random and mutated frames to a server, and says whether it kept what the package's docstring promises.

python -m tests.fuzz [--frames 1000000] [--seed N] [--intake epoll|tasks|library] [--only NUMBER]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from fws_pipe.websocket.intake import Intake
from tests.fuzz.campaign import fuzz, send_one
from tests.harness import Servers


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=1_000_000, help="how many (default: 1,000,000)")
    parser.add_argument("--seed", type=int, help="what to send; random, and printed, unless given")
    parser.add_argument("--intake", choices=list(Intake), default=Intake.EPOLL, help="the server's way of reading")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="send only this connection's stream")
    return parser.parse_args()


def main() -> int:
    """Run and print; returns 1 if the invariant is broken."""
    arguments = _parse()
    seed = int.from_bytes(os.urandom(4), "big") if arguments.seed is None else arguments.seed
    print(f"seed {seed}, intake {arguments.intake}", flush=True)
    options = ("--quiet", "--intake", arguments.intake)
    with tempfile.TemporaryDirectory() as folder, Servers(Path(folder)) as servers:
        try:
            if arguments.only is None:
                print(fuzz(servers, seed, arguments.frames, *options))
            else:
                print(send_one(servers, seed, arguments.only, *options))
        except AssertionError as error:
            print(f"broken: {error}\nagain: python -m tests.fuzz --seed {seed} --intake {arguments.intake}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
