"""Who is on which server and in which groups, kept in Redis for every program that wants to know.

    fws:presence              set: the names of the servers
    fws:presence:SERVER       hash: a client's id -> the JSON list of its groups; expires unless the server refreshes it
    fws:server:SERVER         the run id of the server that has this name; expires likewise

A server writes its own hash only, so nothing is ever read, changed and written back; one that dies takes all its
clients with it when its hash expires. A name is one living server's only, or two would overwrite each other's hash.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fws_pipe.broker.connection import AWAY, ERRORS, Client, RedisSettings, close_quietly, connect, explain
from fws_pipe.errors import SystemRefusedError, UsageError
from fws_pipe.pipes.blocks import start_thread

_CHUNK = 500
"""How many clients one command carries: Redis answers others in between."""

_NAME_CHECK_S = 0.05
_RETRY_S = 1.0


class NameTakenError(UsageError):
    """Another server that lives has our name."""

    def __init__(self, settings: RedisSettings) -> None:
        super().__init__(
            f"--name {settings.server}: another server at Redis {settings.address} is called so; names must differ"
        )


def take_name(settings: RedisSettings, say: Callable[[str], object]) -> None:
    """Take the server's name before it serves. Raises NameTakenError, or SystemRefusedError for what Redis refuses.

    A server that was killed leaves its name behind until it expires: whether the holder lives shows in whether it still
    puts that off. So this takes as long as that shows: a third of the expiry, or what is left of it.
    """
    try:
        with contextlib.closing(connect(settings)) as client:
            left_before: int | None = None
            while not _hold_name(client, settings):
                left = client.pttl(settings.name_key)
                if left_before is None:
                    say(f"another server has the name {settings.server}; waiting to see whether it still lives")
                elif left > left_before or left == -1:  # -1: it never expires
                    raise NameTakenError(settings)
                left_before = left
                time.sleep(_NAME_CHECK_S)
    except ERRORS as error:
        raise SystemRefusedError(f"can't take the name {settings.server}: {explain(error, settings)}") from None


def forget_server(settings: RedisSettings) -> None:
    """Give back the name of a server that has failed, and what its source may have written, if Redis is there."""
    writer = MembershipWriter(settings)
    try:
        writer.remove()
    except ERRORS:
        pass  # it expires
    writer.disconnect()


def _hold_name(client: Client, settings: RedisSettings) -> bool:
    """Take the name, or put off its expiry; False when another server has it."""
    if client.set(settings.name_key, settings.run, nx=True, ex=_expiry_s(settings)):
        return True
    return _has_name(client, settings) and bool(client.expire(settings.name_key, _expiry_s(settings)))


def _has_name(client: Client, settings: RedisSettings) -> bool:
    return bool(client.get(settings.name_key) == settings.run.encode())


def _expiry_s(settings: RedisSettings) -> int:
    return max(1, round(settings.expiry_s))


def _key_bytes(key: str) -> bytes:
    return key.encode(errors="surrogateescape")


def _readable(entries: Mapping[bytes, bytes]) -> Iterator[tuple[str, set[str]]]:
    """The clients of a hash and their groups, without what no server can have written."""
    for client, groups in entries.items():
        try:
            names = json.loads(groups)
            if isinstance(names, list):
                yield client.decode(), {name for name in names if isinstance(name, str)}
        except (ValueError, RecursionError):
            continue


class Membership:
    """Reads what all live servers have written. Raises one of `connection.ERRORS`."""

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
            name = server.decode(errors="surrogateescape")  # anybody may have written it
            entries = self._client.hgetall(_key_bytes(self._settings.presence_key(name)))
            found.update(_readable(entries))
        return found

    def members(self, group: str) -> set[str]:
        """The ids of a group's members on all live servers."""
        return {client for client, groups in self.clients().items() if group in groups}


class MembershipWriter:
    """Keeps one server's hash as it should be. What raises one of `connection.ERRORS` may be called again."""

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
            pipeline.hlen(self._key)
            *_, written = pipeline.execute()
        self._is_written = written == len(self._groups)
        if not self._is_written:  # Redis has lost it, or we were away for too long
            self._write_all()

    def refresh(self) -> None:
        """Say that this server lives; clear away the names of those that don't. Raises NameTakenError as well."""
        if not _hold_name(self._client, self._settings):
            raise NameTakenError(self._settings)  # while we were away from Redis
        self.write()
        for server in self._client.smembers(self._settings.servers_key):
            name = server.decode(errors="surrogateescape")  # anybody may have written it
            if name != self._settings.server and not self._client.exists(_key_bytes(self._settings.presence_key(name))):
                self._client.srem(self._settings.servers_key, server)

    def remove(self) -> None:
        """This server ends: nobody is here any more."""
        if not _hold_name(self._client, self._settings):
            return
        self._client.delete(self._key)
        self._client.srem(self._settings.servers_key, self._settings.server)
        self._client.delete(self._settings.name_key)

    def disconnect(self) -> None:
        """Forget a connection that has failed, and what it may have left undone."""
        self._is_written = False
        if self._connection is not None:
            close_quietly(self._connection)
            self._connection = None

    @property
    def _client(self) -> Client:
        if self._connection is None:
            self._connection = connect(self._settings)
        return self._connection

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
        pipeline.expire(self._key, _expiry_s(self._settings))
        pipeline.sadd(self._settings.servers_key, self._settings.server)


class MembershipKeeper:
    """Keeps a server's membership in Redis from a thread of its own, so that a Redis that is away holds up nobody.

    `say` tells people, in one line; `count` counts, by name.
    """

    def __init__(self, settings: RedisSettings, say: Callable[[str], object], count: Callable[[str], object]) -> None:
        self._settings = settings
        self._say = say
        self._count = count
        self._writer = MembershipWriter(settings)
        self._noted: dict[str, Iterable[str] | None] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._told: str | None = None
        """Why it can't be written, as people know it."""
        self._thread = start_thread(self._run, "membership")

    def note(self, client_id: str, groups: Iterable[str] | None) -> None:
        """A client is in these groups now, or (None) gone."""
        with self._changed:
            self._noted[client_id] = groups
            self._changed.notify_all()

    def finish(self) -> None:
        """The server ends: take all of it out of Redis."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        refresh_s = self._settings.expiry_s / 3
        next_refresh = time.monotonic()
        failed = False
        while self._wait_until(next_refresh, for_changes=not failed):
            try:
                if time.monotonic() >= next_refresh:
                    self._writer.refresh()
                    next_refresh = time.monotonic() + refresh_s
                else:
                    self._writer.write()
            except (*ERRORS, NameTakenError) as error:
                # The next refresh writes all of it. When Redis is away the subscription notices as well, and tells.
                failed = True
                next_refresh = time.monotonic() + min(_RETRY_S, refresh_s)
                self._writer.disconnect()
                if not isinstance(error, AWAY):
                    self._note_refused(error)
            else:
                failed = False
                self._note_written()
        try:
            self._writer.remove()
        except ERRORS:
            pass  # it expires

    def _wait_until(self, deadline: float, *, for_changes: bool) -> bool:
        """Wait for something to do, and take what has been noted; False at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or (for_changes and bool(self._noted)), max(0.0, deadline - time.monotonic())
            )
            for client_id, groups in self._noted.items():
                self._writer.note(client_id, groups)
            self._noted.clear()
            return not self._ended

    def _note_refused(self, error: Exception) -> None:
        self._count("membership not written")
        text = str(error) if isinstance(error, NameTakenError) else explain(error, self._settings)
        if text != self._told:
            self._told = text
            self._say(f"membership can't be written: {text}")

    def _note_written(self) -> None:
        if self._told is not None:
            self._told = None
            self._say("membership is written again")
