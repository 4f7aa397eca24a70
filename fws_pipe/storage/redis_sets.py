"""Sets by key in Redis: each is a Redis SET, which all servers share and any other program can read."""

from __future__ import annotations

from typing import Any

import redis
from redis.exceptions import RedisClusterException, RedisError

from fws_pipe import redis_link
from fws_pipe.errors import SystemRefusedError
from fws_pipe.redis_link import RedisSettings
from fws_pipe.storage.base import Storage, set_or_none, to_bytes

# A cluster that can't be reached is neither a RedisError nor an OSError.
_ERRORS = (RedisError, RedisClusterException, OSError)


class RedisStorage(Storage):
    """Sets by key below `settings.key`. For all threads.

    It connects on first use, to a cluster at once; raises SystemRefusedError when Redis refuses or is away.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._prefix = f"{settings.key}:storage:".encode()
        try:
            self._client = redis_link.connect(settings)
        except _ERRORS as error:
            raise self._refused(error) from None

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
        try:
            try:
                return self._client.execute_command(*words)
            except redis.ConnectionError:
                # Redis may have restarted since the last call. Once more does no harm: these are set operations.
                return self._client.execute_command(*words)
        except _ERRORS as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> SystemRefusedError:
        return SystemRefusedError(redis_link.explain(error, self._settings))
