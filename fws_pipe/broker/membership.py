"""The membership in Redis: the clients of each server and their groups, readable by every program.

    fws:presence              set: the names of the servers
    fws:presence:SERVER       hash: a client's id -> the JSON list of its groups; expires unless the server refreshes it
    fws:server:SERVER         the run id of the server that has this name; expires likewise
    fws:server:SERVER:routes  set: its routes that are served; the last one gives back the name

A route has keys of its own for its clients, fws:presence:/PATH and fws:presence:/PATH:SERVER, and so groups of its own.

Each server writes only its own hash, so there is no read-modify-write between servers; when a server dies its clients
go with its hash, which expires. Only one living server has a name; otherwise two would overwrite each other's hash.
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
"""How many clients one command carries; between two commands Redis answers other programs."""

_NAME_CHECK_S = 0.05
_RETRY_S = 1.0


class NameTakenError(UsageError):
    """Another living server has this server's name."""

    def __init__(self, settings: RedisSettings) -> None:
        super().__init__(
            f"--name {settings.server}: another server at Redis {settings.address} has this name; names must differ"
        )


def take_name(settings: RedisSettings, say: Callable[[str], object]) -> None:
    """Take the server's name before it serves. Raises NameTakenError, or SystemRefusedError where Redis refuses.

    A killed server's name stays until it expires, and a living one puts the expiry off every third of its time. So this
    waits until either happens, and shows whether the holder lives.
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
    """Delete the name and the members of a server that has failed to start, if Redis can be reached."""
    writer = MembershipWriter(settings)
    try:
        writer.remove()
        writer.remove_name()
    except ERRORS:
        pass  # it expires
    writer.disconnect()


def _hold_name(client: Client, settings: RedisSettings) -> bool:
    """Take the server's name, or put off its expiry; False when another server has it."""
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
    """The clients of a hash and their groups; entries that no server can have written are skipped."""
    for client, groups in entries.items():
        try:
            names = json.loads(groups)
            if isinstance(names, list):
                yield client.decode(), {name for name in names if isinstance(name, str)}
        except (ValueError, RecursionError):
            continue


class Membership:
    """Reads the membership of all living servers. Its methods raise one of `connection.ERRORS`."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._client: Client = connect(settings)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def clients(self) -> dict[str, set[str]]:
        """The ids of all clients of living servers, each with the names of its groups (SMEMBERS, HGETALL)."""
        found: dict[str, set[str]] = {}
        for server in self._client.smembers(self._settings.servers_key):
            name = server.decode(errors="surrogateescape")  # any program may have written it
            entries = self._client.hgetall(_key_bytes(self._settings.presence_key(name)))
            found.update(_readable(entries))
        return found

    def members(self, group: str) -> set[str]:
        """The ids of a group's members on all living servers."""
        return {client for client, groups in self.clients().items() if group in groups}


class MembershipWriter:
    """Writes one server's hash. A method that has raised one of `connection.ERRORS` may be called again."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._key = settings.presence_key(settings.server)
        self._groups: dict[str, str] = {}
        self._changed: set[str] = set()
        self._is_written = False
        self._connection: Client | None = None

    def note(self, client_id: str, groups: Iterable[str] | None) -> None:
        """Note the groups of a client; None: it has gone. `write` writes it to Redis."""
        if groups is None:
            self._groups.pop(client_id, None)
        else:
            self._groups[client_id] = json.dumps(list(groups))
        self._changed.add(client_id)

    def write(self) -> None:
        """Write the changes, or the whole hash where Redis may not have its last state (HSET, HDEL, EXPIRE)."""
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
        if not self._is_written:  # Redis has lost the hash, or it expired during an outage
            self._write_all()

    def refresh(self) -> None:
        """Put off the expiry of this server's name and hash, and delete names of dead servers.

        Raises NameTakenError as well.
        """
        if not _hold_name(self._client, self._settings):
            raise NameTakenError(self._settings)  # another server took it during an outage
        self._client.sadd(self._settings.name_holders_key, self._settings.route)
        self._client.expire(self._settings.name_holders_key, _expiry_s(self._settings))
        self.write()
        for server in self._client.smembers(self._settings.servers_key):
            name = server.decode(errors="surrogateescape")  # any program may have written it
            if name != self._settings.server and not self._client.exists(_key_bytes(self._settings.presence_key(name))):
                self._client.srem(self._settings.servers_key, server)

    def remove(self) -> None:
        """Delete this route's clients, and the server's name unless another route of it is left."""
        if not _hold_name(self._client, self._settings):
            return
        self._client.delete(self._key)
        self._client.srem(self._settings.servers_key, self._settings.server)
        self._client.srem(self._settings.name_holders_key, self._settings.route)
        if not self._client.exists(self._settings.name_holders_key):
            self._client.delete(self._settings.name_key)

    def remove_name(self) -> None:
        """Delete the server's name, whatever routes it has had."""
        if _has_name(self._client, self._settings):
            for key in (self._settings.name_key, self._settings.name_holders_key):  # in a cluster, on two nodes
                self._client.delete(key)

    def disconnect(self) -> None:
        """Close a connection that has failed; the next `write` writes the whole hash."""
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
    """Keeps a server's membership in Redis, from a thread of its own, so that no caller waits for Redis.

    `say` logs one line; `count` adds to a counter, by name.
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
        """The last logged reason why the membership can't be written; None: it is written."""
        self._thread = start_thread(self._run, "membership")

    def note(self, client_id: str, groups: Iterable[str] | None) -> None:
        """Note the groups of a client; None: it has gone."""
        with self._changed:
            self._noted[client_id] = groups
            self._changed.notify_all()

    def finish(self) -> None:
        """Delete the server's membership from Redis, and end the thread."""
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
                # The next refresh writes the whole hash. An outage is logged by the subscription.
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
        """Wait for changes, or until the deadline, and pass noted changes to the writer; False at the end."""
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
