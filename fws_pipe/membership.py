"""Who is on which server and in which groups, kept in Redis for every program that wants to know.

    fws:presence              set: the names of the servers
    fws:presence:SERVER       hash: a client's id -> the JSON list of its groups; expires unless the server refreshes it

A server writes its own hash only, so nothing is ever read, changed and written back; one that dies takes all its
clients with it when its hash expires.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from fws_pipe.redis_link import ERRORS, Client, RedisSettings, connect

_CHUNK = 500
"""How many clients one command carries: Redis answers others in between."""


class Membership:
    """Reads what all live servers have written. Raises one of `redis_link.ERRORS`."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._client: Client = connect(settings)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def clients(self) -> dict[str, set[str]]:
        """The clients of all live servers, each with its groups (SMEMBERS, HGETALL)."""
        found: dict[str, set[str]] = {}
        for server in self._client.smembers(self._settings.servers_key):
            entries = self._client.hgetall(self._settings.presence_key(server.decode()))
            found.update({client.decode(): set(json.loads(groups)) for client, groups in entries.items()})
        return found

    def members(self, group: str) -> set[str]:
        """The ids of a group's members on all live servers."""
        return {client for client, groups in self.clients().items() if group in groups}


class MembershipWriter:
    """Keeps one server's hash as it should be. What raises one of `redis_link.ERRORS` may be called again."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._key = settings.presence_key(settings.server)
        self._groups: dict[str, str] = {}
        self._changed: set[str] = set()
        self._is_written = False
        self._connection: Client | None = None

    def note(self, client_id: str, groups: Iterable[str] | None) -> None:
        """A client is in these groups now, or (None) gone; `write` tells Redis."""
        if groups is None:
            self._groups.pop(client_id, None)
        else:
            self._groups[client_id] = json.dumps(list(groups))
        self._changed.add(client_id)

    def write(self) -> None:
        """Write what has changed, or everything where that can't be known (HSET, HDEL, EXPIRE)."""
        if not self._is_written:
            self._write_all()
            return
        changed, self._changed = self._changed, set()
        self._is_written = False
        with self._client.pipeline(transaction=False) as pipeline:
            self._set(pipeline, [client for client in changed if client in self._groups])
            gone = [client for client in changed if client not in self._groups]
            for start in range(0, len(gone), _CHUNK):
                pipeline.hdel(self._key, *gone[start : start + _CHUNK])
            self._touch(pipeline)
            pipeline.execute()
        self._is_written = True

    def refresh(self) -> None:
        """Say that this server lives; clear away the names of those that don't."""
        if self._groups and not self._client.expire(self._key, self._expiry_s):
            self._is_written = False  # Redis has lost it, or we were away for too long
        self.write()
        for server in self._client.smembers(self._settings.servers_key):
            name = server.decode()
            if name != self._settings.server and not self._client.exists(self._settings.presence_key(name)):
                self._client.srem(self._settings.servers_key, name)

    def remove(self) -> None:
        """This server ends: nobody is here any more."""
        self._client.delete(self._key)
        self._client.srem(self._settings.servers_key, self._settings.server)

    def disconnect(self) -> None:
        """Forget a connection that has failed, and what it may have left undone."""
        self._is_written = False
        if self._connection is not None:
            try:
                self._connection.close()
            except ERRORS:
                pass  # it is of no use any more
            self._connection = None

    @property
    def _client(self) -> Client:
        if self._connection is None:
            self._connection = connect(self._settings)
        return self._connection

    @property
    def _expiry_s(self) -> int:
        return max(1, round(self._settings.expiry_s))

    def _write_all(self) -> None:
        self._changed.clear()
        with self._client.pipeline(transaction=not self._settings.sharded) as pipeline:
            pipeline.delete(self._key)
            self._set(pipeline, list(self._groups))
            self._touch(pipeline)
            pipeline.execute()
        self._is_written = True

    def _set(self, pipeline: Any, clients: list[str]) -> None:
        for start in range(0, len(clients), _CHUNK):
            chunk = clients[start : start + _CHUNK]
            pipeline.hset(self._key, mapping={client: self._groups[client] for client in chunk})

    def _touch(self, pipeline: Any) -> None:
        pipeline.expire(self._key, self._expiry_s)
        pipeline.sadd(self._settings.servers_key, self._settings.server)
