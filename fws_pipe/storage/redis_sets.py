"""Sets by key in Redis: each is a Redis SET, which all servers share and any other program can read."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from redis.exceptions import AuthenticationError, AuthorizationError

from fws_pipe import redis_link
from fws_pipe.errors import SystemRefusedError
from fws_pipe.redis_link import RedisSettings
from fws_pipe.storage.base import Storage, set_or_none, to_bytes

T = TypeVar("T")

PATIENCE_S = 10.0
"""How long a call waits for a Redis that has gone. Its stage reads nothing meanwhile, and so holds the clients back."""

_FIRST_DELAY_S = 0.05
_LONGEST_DELAY_S = 1.0

_LASTING = (AuthenticationError, AuthorizationError)  # redis-py counts them among the ConnectionErrors


class RedisStorage(Storage):
    """Sets by key below `settings.key`. For all threads.

    It connects on first use, to a cluster at once; raises SystemRefusedError when Redis refuses, or is away for
    `patience_s` seconds.
    """

    def __init__(self, settings: RedisSettings, patience_s: float = PATIENCE_S) -> None:
        self._settings = settings
        self._patience_s = patience_s
        self._prefix = f"{settings.key}:storage:".encode()
        self._client = self._patiently(lambda: redis_link.connect(settings))

    def get(self, key: Any) -> set[Any] | None:
        """The set of a key, or None when there is nothing."""
        return set_or_none(self._execute("SMEMBERS", key))

    def add(self, key: Any, value: Any) -> None:
        """Put a value into the set of a key."""
        self._execute("SADD", key, to_bytes(value))

    def remove(self, key: Any, value: Any) -> None:
        """Take a value out of the set of a key; nothing happens when it isn't in there."""
        self._execute("SREM", key, to_bytes(value))

    def close(self) -> None:
        """Close the connections; the sets stay in Redis."""
        self._client.close()

    def _execute(self, command: str, key: Any, *values: bytes) -> Any:
        words = (command, self._prefix + to_bytes(key), *values)
        return self._patiently(lambda: self._client.execute_command(*words))

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """Try until it succeeds; once more does no harm, these being set operations. Raises SystemRefusedError."""
        deadline = time.monotonic() + self._patience_s
        # Not all stages of all servers come at once to a Redis that has just started.
        next_delay = redis_link.jittered_delays(_FIRST_DELAY_S, _LONGEST_DELAY_S)
        while True:
            try:
                return attempt()
            except redis_link.ERRORS as error:
                delay = next_delay()
                may_pass = isinstance(error, redis_link.PASSING) and not isinstance(error, _LASTING)
                if not may_pass or time.monotonic() + delay > deadline:
                    raise SystemRefusedError(redis_link.explain(error, self._settings)) from None
            time.sleep(delay)
