"""What all tests share: a deterministic hypothesis, and the server fixtures.

FWS_TEST_EXPLORE=1 lets hypothesis roam; FWS_TEST_EXAMPLES=200000 says how far, in the property tests that heed it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.harness import Servers
from tests.redis_servers import KINDS, RedisServer, reason_missing

# With 100 examples, the default, these tests were a third of the whole run; the same ones each time tell little more.
settings.register_profile("steady", derandomize=True, deadline=None, max_examples=40)
settings.register_profile("explore", deadline=None, max_examples=2000)
roams = os.environ.get("FWS_TEST_EXPLORE") or os.environ.get("FWS_TEST_EXAMPLES")
settings.load_profile("explore" if roams else "steady")

# A shell's `&` and nohup let us ignore these, and servers would honour that; the tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Starts servers, and sees to it that nothing of them is left."""
    with Servers(tmp_path) as started:
        yield started


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running Valkey, which is all of Redis that most tests need."""
    with start_or_skip("valkey", tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(params=KINDS)
def any_redis_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running Valkey, then a running Redis."""
    with start_or_skip(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server


def start_or_skip(kind: str, folder: Path, *arguments: str) -> RedisServer:
    """Start a server of a kind, or skip the test where there is none."""
    if reason := reason_missing(kind):
        pytest.skip(reason)
    return RedisServer.start(kind, folder, *arguments)
