"""Routes in the form that a user writes, PATH=CHAIN, and their chains by pattern. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fws_pipe.errors import UsageError
from fws_pipe.http.routes import EVERY_PATH, parse_pattern


class RouteOption(NamedTuple):
    """The chain for some paths; the pattern is in its normal form (http/routes.py)."""

    pattern: str
    chain: str


def parse_route(text: str) -> RouteOption:
    """Parse PATH=CHAIN, which is split at the first =; a = in a path is written as %3D. Raises ValueError."""
    path, equals, chain = text.partition("=")
    if not equals or not chain.strip():
        raise ValueError("expected PATH=CHAIN such as '/chat=broadcast', or '/log/*=…' for all paths below /log/")
    return RouteOption(parse_pattern(path.strip()), chain.strip())


def chains_of(routes: Sequence[RouteOption], chain: str | None) -> dict[str, str]:
    """The chains by pattern. `chain` serves all paths without a route; None: these get 404. Raises UsageError."""
    rest = [] if chain is None else [RouteOption(EVERY_PATH, chain)]
    chains: dict[str, str] = {}
    for pattern, text in [*rest, *routes]:
        if pattern in chains:
            raise UsageError(_twice(pattern, chain))
        chains[pattern] = text
    return chains


def _twice(pattern: str, chain: str | None) -> str:
    if pattern == EVERY_PATH and chain is not None:
        return f"route {pattern}: the chain {chain!r} serves all other paths already; leave one of the two out"
    return f"route {pattern}: this path has two chains; leave one of them out"
