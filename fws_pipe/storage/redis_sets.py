"""Sets by key in Redis: each is a Redis SET, which all servers share and any other program can read.

While Redis is away a call waits and tries again. If it raised instead, the stage would die, and its current event would
be blamed for the death. Executing one of these commands twice is harmless, so trying again is safe. During the wait a
thread shows that the process lives (protocol/life.py); otherwise --stall-timeout would end the chain. The stage says on
stderr that it waits, and reads nothing meanwhile: back-pressure holds the clients.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from redis.exceptions import AuthenticationError, AuthorizationError

from fws_pipe.broker import connection as redis_link
from fws_pipe.broker.connection import RedisSettings
from fws_pipe.errors import SystemRefusedError
from fws_pipe.pipes.blocks import start_thread
from fws_pipe.protocol.life import SHOW_EVERY_S, show_life
from fws_pipe.storage.base import Storage, set_or_none, to_bytes

T = TypeVar("T")

_FIRST_DELAY_S = 0.05
_LONGEST_DELAY_S = 1.0

_LASTING = (AuthenticationError, AuthorizationError)  # redis-py counts them among the ConnectionErrors


class RedisStorage(Storage):
    """Sets by key under the prefix `settings.key`. Safe in all threads.

    It connects on first use, to a cluster at once. Its methods raise SystemRefusedError when Redis refuses a command,
    or is away for `patience_s` seconds.
    """

    def __init__(self, settings: RedisSettings, patience_s: float = math.inf) -> None:
        self._settings = settings
        self._patience_s = patience_s
        self._calls = 0
        """The number of calls so far."""
        self._is_called = False
        """Whether a call is under way. Several threads share the flag, since it only decides whether to show life."""
        self._closed = threading.Event()
        start_thread(self._show_life, "storage")
        self._prefix = f"{settings.key}:storage:".encode()
        self._client = self._patiently(lambda: redis_link.connect(settings))

    def get(self, key: Any) -> set[Any] | None:
        """The set of a key (SMEMBERS); None when it is empty."""
        return set_or_none(self._execute("SMEMBERS", key))

    def add(self, key: Any, value: Any) -> None:
        """Add a value to the set of a key (SADD)."""
        self._execute("SADD", key, to_bytes(value))

    def remove(self, key: Any, value: Any) -> None:
        """Remove a value from the set of a key (SREM); a no-op when the set doesn't have it."""
        self._execute("SREM", key, to_bytes(value))

    def close(self) -> None:
        """Close the connections; the sets stay in Redis."""
        self._closed.set()
        self._client.close()

    def _show_life(self) -> None:
        """Show that the process lives while one call takes longer than SHOW_EVERY_S."""
        calls = -1
        while not self._closed.wait(SHOW_EVERY_S):
            if self._is_called and self._calls == calls:
                show_life()
            calls = self._calls

    def _execute(self, command: str, key: Any, *values: bytes) -> Any:
        words = (command, self._prefix + to_bytes(key), *values)
        return self._patiently(lambda: self._client.execute_command(*words))

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """Call `attempt` until it succeeds; repeating an operation on sets is harmless. Raises SystemRefusedError."""
        self._calls += 1
        self._is_called = True
        try:
            return self._try(attempt)
        finally:
            self._is_called = False

    def _try(self, attempt: Callable[[], T]) -> T:
        start = time.monotonic()
        deadline = start + self._patience_s
        is_waiting = False
        # Jitter: otherwise all stages of all servers would connect at once to a Redis that has just started.
        next_delay = redis_link.jittered_delays(_FIRST_DELAY_S, _LONGEST_DELAY_S)
        while True:
            try:
                done = attempt()
                if is_waiting:
                    _say(f"the storage goes on, after {time.monotonic() - start:.1f} s")
                return done
            except redis_link.ERRORS as error:
                delay = next_delay()
                may_pass = isinstance(error, redis_link.PASSING) and not isinstance(error, _LASTING)
                if not may_pass or time.monotonic() + delay > deadline:
                    raise SystemRefusedError(redis_link.explain(error, self._settings)) from None
                if not is_waiting:
                    is_waiting = True
                    _say(f"the storage waits: {redis_link.explain(error, self._settings)}")
            time.sleep(delay)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
