"""Sets, lists and maps in Redis, which all servers share and any other program can read: SETs, LISTs and HASHes.

While Redis is away a call waits and tries again. If it raised instead, the stage would die, and its current event would
be blamed for the death. So a command may come to Redis twice: where the first one was executed, and only its reply was
lost, or when a Redis that was stopped goes on. Twice is harmless but for `append`, whose script therefore knows by a
number what it has appended.

During the wait a thread shows that the process lives (protocol/life.py); otherwise --stall-timeout would end the chain.
The stage says on stderr that it waits, and reads nothing meanwhile: back-pressure holds the clients.
"""

from __future__ import annotations

import itertools
import math
import secrets
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
from fws_pipe.storage.base import Storage
from fws_pipe.storage.stored_form import set_or_none, to_bytes

T = TypeVar("T")

_FIRST_DELAY_S = 0.05
_LONGEST_DELAY_S = 1.0

_APPEND = b"""
if tonumber(redis.call("GET", KEYS[2]) or 0) >= tonumber(ARGV[3]) then return end
redis.call("RPUSH", KEYS[1], ARGV[1])
redis.call("LTRIM", KEYS[1], -ARGV[2], -1)
redis.call("SET", KEYS[2], ARGV[3], "EX", ARGV[4])
"""
"""Appends ARGV[1] to the list KEYS[1] and keeps ARGV[2] values, unless the call of this number, ARGV[3], has been
executed. KEYS[2] is the number of this storage's last call for this list.
"""

_APPENDED_EXPIRY_S = 3600
"""How long Redis remembers that number, in seconds: an outage between two attempts may last as long."""

_LASTING = (AuthenticationError, AuthorizationError)  # redis-py counts them among the ConnectionErrors


class RedisStorage(Storage):
    """Sets, lists and maps under the prefix `settings.key`. Safe in all threads.

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
        self._prefix = f"{settings.key}:".encode()
        self._identity = secrets.token_hex(8).encode()
        self._appended = itertools.count(1)
        self._append_lock = threading.Lock()
        self._client = self._patiently(lambda: redis_link.connect(settings))

    def get(self, key: Any) -> set[Any] | None:
        """The set of a key (SMEMBERS); None when it is empty."""
        return set_or_none(self._execute("SMEMBERS", self._set(key)))

    def add(self, key: Any, value: Any) -> None:
        """Add a value to the set of a key (SADD)."""
        self._execute("SADD", self._set(key), to_bytes(value))

    def remove(self, key: Any, value: Any) -> None:
        """Remove a value from the set of a key (SREM); a no-op when the set doesn't have it."""
        self._execute("SREM", self._set(key), to_bytes(value))

    def delete_set(self, key: Any) -> None:
        """Delete the set of a key (DEL); a no-op when there is none."""
        self._execute("DEL", self._set(key))

    def close(self) -> None:
        """Close the connections; what is stored stays in Redis."""
        self._closed.set()
        self._client.close()

    def _show_life(self) -> None:
        """Show that the process lives while one call takes longer than SHOW_EVERY_S."""
        calls = -1
        while not self._closed.wait(SHOW_EVERY_S):
            if self._is_called and self._calls == calls:
                show_life()
            calls = self._calls

    def _set(self, key: Any) -> bytes:
        return self._prefix + b"storage:" + to_bytes(key)

    def _list(self, key: bytes) -> bytes:
        # In braces: a cluster looks at them alone, so it keeps a list and what has been appended to it in one place.
        return self._prefix + b"{list:" + key + b"}"

    def _map(self, key: bytes) -> bytes:
        return self._prefix + b"map:" + key

    def _append(self, key: bytes, value: bytes, keep: int) -> None:
        name = self._list(key)
        with self._append_lock:  # the script takes a lower number than the last one for a call that has been executed
            arguments = (value, keep, next(self._appended), _APPENDED_EXPIRY_S)
            self._execute("EVAL", _APPEND, 2, name, name + b":appended:" + self._identity, *arguments)

    def _last(self, key: bytes, n: int) -> list[bytes]:
        values: list[bytes] = self._execute("LRANGE", self._list(key), -n, -1)
        return values

    def _delete_list(self, key: bytes) -> None:
        self._execute("DEL", self._list(key))

    def _put(self, key: bytes, field: bytes, value: bytes) -> None:
        self._execute("HSET", self._map(key), field, value)

    def _fetch(self, key: bytes, field: bytes) -> bytes | None:
        value: bytes | None = self._execute("HGET", self._map(key), field)
        return value

    def _fetch_all(self, key: bytes) -> dict[bytes, bytes]:
        fields: dict[bytes, bytes] = self._execute("HGETALL", self._map(key))
        return fields

    def _delete_field(self, key: bytes, field: bytes) -> None:
        self._execute("HDEL", self._map(key), field)

    def _delete_map(self, key: bytes) -> None:
        self._execute("DEL", self._map(key))

    def _execute(self, command: str, *words: bytes | int) -> Any:
        return self._patiently(lambda: self._client.execute_command(command, *words))

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """Call `attempt` until it succeeds; it may be repeated. Raises SystemRefusedError."""
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
