"""Kills, stops, restarts and takes away all that a server has around it, and accounts for every message.

    python -m tests.chaos [--seconds 60] [--seed N] [--clients 200] [--rate 5]

The package's docstring says what is done; a run that fails prints the seed, what was done when, and what is missing.
The seed makes the same faults again, at about the same times: processes are never scheduled twice in the same way.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import ChaosError, chaos
from tests.harness import Servers


def main() -> int:
    """Run and print; returns 1 if something didn't hold."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, help="what is done when; random, and printed, unless given")
    parser.add_argument("--clients", type=int, default=200, help="how many at a time (default: 200)")
    parser.add_argument("--rate", type=float, default=5.0, help="messages of a client a second (default: 5)")
    arguments = parser.parse_args()
    seed = int.from_bytes(os.urandom(4), "big") if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    # Whoever ends us ends the servers too, and what is mounted.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory() as folder, Servers(Path(folder)) as servers:
        try:
            print(chaos(servers, seed, arguments.seconds, arguments.clients, arguments.rate))
        except ChaosError as error:
            again = f"--seed {seed} --seconds {arguments.seconds:g} --clients {arguments.clients}"
            print(f"{error}\nagain: python -m tests.chaos {again} --rate {arguments.rate:g}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
