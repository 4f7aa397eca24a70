"""The source: brings published messages from Redis to the front, and keeps the server's membership in Redis.

    Redis -> subscription -> backlog (bounded in bytes) -> `consumer` events, other servers' actions -> the front
    the front -> `presence` frames -> membership -> Redis

It uses plain blocking redis-py, in threads. When stdout is full and the backlog, too, Redis isn't read. While Redis is
away it tries again for ever.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from fws_pipe.broker import FOUND_BY_SOURCE, LOST_BY_SOURCE, MISSED
from fws_pipe.broker.connection import (
    ERRORS,
    PASSING,
    REPLY_TIMEOUT_S,
    Client,
    RedisSettings,
    check_channels,
    check_reachable,
    check_url,
    close_quietly,
    connect,
    explain,
    is_pattern,
    jittered_delays,
    settings_from,
)
from fws_pipe.broker.membership import MembershipKeeper
from fws_pipe.broker.relay import MalformedRelayError, RelayReceiver
from fws_pipe.errors import EXIT_OK, SystemRefusedError, UsageError
from fws_pipe.pipes.blocks import (
    BlockWriter,
    OutputClosedError,
    block_writer_for_the_front,
    frames_of_blocks,
    run_program,
    say,
    start_thread,
)
from fws_pipe.protocol.actions import COUNT
from fws_pipe.protocol.codec import FRAME_LIMIT_BYTES, Frame, encode, type_of
from fws_pipe.protocol.events import PRESENCE, TICK, consumer_event, stamp
from fws_pipe.wording import counted

HELP = """usage: fws-source [--redis-url URL] [--redis-sharded] [CHANNEL…]

Subscribes to channels of Redis and writes each published message on stdout, as a consumer event. The default CHANNEL is
"global"; one with * or ? is a pattern. The default URL is $FWS_REDIS_URL, or else redis://localhost:6379/0. fws-pipe
runs it by itself; by hand it runs beside the chain:

  mkfifo back; fws-front <back | broadcast_pubsub | fws-sink >back & fws-source news 'chat.*' >back

fws-sink and fws-source take turns in writing to the FIFO. Another program may only write to it in pieces below 4096
bytes.
"""

_PING_S = 5.0
"""How long a subscription may be silent before Redis is pinged, in seconds."""

BACKLOG_LIMIT_BYTES = 128 * 1024 * 1024
"""How much may wait for the front: Redis is read until then, however slow the chain is."""

_BATCH = 1000
_BATCH_BYTES = 1024 * 1024

_PAYLOAD_LIMIT_BYTES = FRAME_LIMIT_BYTES // 2
"""The largest payload, as of --max-message: a larger frame would break the pipe to the front."""


class Source:
    """Receives from all subscriptions, each in a thread, and follows the front in another; all write to one output."""

    def __init__(self, settings: RedisSettings, say: Callable[[str], object]) -> None:
        self._settings = settings
        self._say = say
        self._receiver = RelayReceiver(settings.run)
        self._backlog = Backlog(partial(_write, block_writer_for_the_front()))
        self._ticks_lock = threading.Lock()
        self._is_subscribed = False
        self._ticks: list[bytes] = []
        self._away_since: float | None = None
        self._has_told_malformed = False
        self._has_told_nameless = False

    # Subscriptions.

    def run(self) -> None:
        """Subscribe and receive for ever; after each failure subscribe again."""
        next_delay = jittered_delays()
        while True:
            try:
                self._subscribe_and_receive()
            except ERRORS as error:
                if self._away_since is None:
                    next_delay = jittered_delays()
                    self._note_lost(error)
            time.sleep(next_delay())

    def _subscribe_and_receive(self) -> None:
        """Subscribe to all channels, and receive until something fails. Raises one of `connection.ERRORS`."""
        client = connect(self._settings)
        try:
            channels = [*self._settings.channels, self._settings.servers_channel]
            subscriptions = [self._subscribe(*part) for part in self._parts(client, channels)]
            try:
                for subscription in subscriptions:
                    subscription.confirm()
                self._subscribe_to_own_channel(client, subscriptions)
                self._note_subscribed()
                self._receive_from_all(subscriptions)
            finally:
                for subscription in subscriptions:
                    subscription.close()
        finally:
            client.close()

    def _subscribe_to_own_channel(self, client: Client, subscriptions: list[_Subscription]) -> None:
        """Subscribe to this run's own channel, after all others: after an outage the sink waits for its subscriber."""
        if not self._settings.run:
            return  # by hand no sink waits
        if self._settings.sharded:
            subscriptions += [self._subscribe(*part) for part in self._parts(client, [self._settings.own_channel])]
        else:
            subscriptions[-1].add(self._settings.own_channel)
        subscriptions[-1].confirm()

    def _subscribe(self, client: Client, channels: list[str], sharded: bool) -> _Subscription:
        """Subscribe under the client name of sources (CLIENT SETNAME): publishers wait while a source lags behind."""
        pubsub = client.pubsub()
        try:
            given = client.connection_pool.connection_kwargs.get("client_name")
            pubsub.execute_command("CLIENT", "SETNAME", self._settings.source_name_after(given))
            pubsub.parse_response()
        except PASSING:
            raise
        except ERRORS as error:
            self._note_nameless(error)
        return _Subscription(pubsub, channels, sharded)

    def _note_nameless(self, error: Exception) -> None:
        if not self._has_told_nameless:
            self._has_told_nameless = True
            self._say(f"other servers do not wait while this one reads slowly: {explain(error, self._settings)}")

    def _parts(self, client: Client, channels: list[str]) -> list[tuple[Client, list[str], bool]]:
        """The clients to subscribe with, each with its channels, and whether they are sharded (SSUBSCRIBE).

        A single Redis has all channels; in a cluster each channel belongs to a node.
        """
        if not self._settings.sharded:
            return [(client, channels, False)]
        nodes: dict[str, tuple[Client, list[str], bool]] = {}
        for channel in channels:
            node = client.get_node_from_key(channel)
            nodes.setdefault(node.name, (client.get_redis_connection(node), [], True))[1].append(channel)
        return list(nodes.values())

    def _receive_from_all(self, subscriptions: list[_Subscription]) -> None:
        """Receive from each subscription in a thread of its own until one fails. Raises its error."""
        if len(subscriptions) == 1:
            self._receive_from(subscriptions[0])
        failures: list[BaseException] = []
        failed = threading.Event()

        def receive(subscription: _Subscription) -> None:
            try:
                self._receive_from(subscription)
            except (*ERRORS, OutputClosedError) as error:
                failures.append(error)
                failed.set()

        for subscription in subscriptions:
            start_thread(partial(receive, subscription), "subscription")
        failed.wait()
        raise failures[0]

    def _receive_from(self, subscription: _Subscription) -> None:
        while True:
            messages = subscription.receive()
            self._backlog.put([frame for message in messages for frame in self._frames_that_fit(message)])

    def _frames_that_fit(self, message: dict[str, Any]) -> list[bytes]:
        if len(message["data"]) <= _PAYLOAD_LIMIT_BYTES:
            return self._frames_of(message)
        self._say(f"dropped a message of {len(message['data'])} bytes: a frame holds {_PAYLOAD_LIMIT_BYTES} at most")
        return [_count("published messages over the size of a frame")]

    def _frames_of(self, message: dict[str, Any]) -> list[bytes]:
        channel = message["channel"].decode(errors="surrogateescape")
        if channel == self._settings.own_channel:
            return []
        if not self._settings.is_servers_channel(channel):
            return [_encoded(consumer_event(channel, _as_payload(message["data"]), None))]
        if message["type"] == "pmessage" or channel != self._settings.servers_channel:
            return []  # the pattern "*" receives it a second time, and those of other routes
        try:
            relayed = self._receiver.unwrap(message["data"])
        except MalformedRelayError as error:
            return [self._note_malformed(error)]
        if relayed is None:
            return []
        frames = [encode(relayed.action)]
        if relayed.missed:
            self._say(f"missed {counted(relayed.missed, 'action')} of other servers while away from Redis")
            frames.append(_count(MISSED, relayed.missed))
        return frames

    def _note_malformed(self, error: MalformedRelayError) -> bytes:
        if not self._has_told_malformed:
            self._has_told_malformed = True
            self._say(f"dropped a message on {self._settings.servers_channel!r}: {error}; this is told once")
        return _count("malformed messages of other servers")

    def _note_lost(self, error: Exception) -> None:
        self._away_since = time.monotonic()
        self._say(f"{explain(error, self._settings)}; what is published meanwhile is missed")
        self._backlog.put_first([_count(LOST_BY_SOURCE)])

    def _note_subscribed(self) -> None:
        if self._away_since is not None:
            away_s = time.monotonic() - self._away_since
            self._say(f"subscribed again to Redis at {self._settings.address}, after {away_s:.1f} s")
            self._backlog.put_first([_count(FOUND_BY_SOURCE)])
        self._away_since = None
        with self._ticks_lock:
            self._is_subscribed = True
            ticks, self._ticks = self._ticks, []
        self._backlog.put_first(ticks)

    # The front's frames.

    def follow_front(self) -> None:
        """Read the front's `presence` frames and ticks on stdin; at the end of input end the process.

        This never waits for Redis: the front takes a process that returns a tick late for one that hangs.
        """
        membership = MembershipKeeper(self._settings, self._say, lambda name: self._backlog.put_first([_count(name)]))
        for frame, raw in frames_of_blocks("the front", lambda: None):
            kind = type_of(frame)
            if kind == PRESENCE:
                membership.note(frame["id"], frame["groups"])
            elif kind == TICK:
                self._return_tick(raw)
        membership.finish()
        self._backlog.stop()
        os._exit(EXIT_OK)

    def _return_tick(self, raw: bytes) -> None:
        """Return a tick at once, also when Redis is away, but not before the first subscription is confirmed."""
        with self._ticks_lock:
            if not self._is_subscribed:
                self._ticks.append(raw)
                return
        self._backlog.put_first([raw])


def _write(output: BlockWriter, frames: list[bytes]) -> None:
    for frame in frames:
        output.add(frame)
    output.flush()


class Backlog:
    """Frames that wait for the front. Messages from Redis may fill BACKLOG_LIMIT_BYTES; then Redis isn't read.

    Redis disconnects a subscriber that lags behind by 32 MB (client-output-buffer-limit), and drops what it held for
    it. So Redis is read as fast as it sends while there is room.

    One thread calls `write`, and no lock is held meanwhile. If several threads shared the output under a lock, the one
    that always has messages to write would take it again and again, and a tick would wait for as long as the channel
    is busy: locks aren't fair.
    """

    def __init__(self, write: Callable[[list[bytes]], object]) -> None:
        self._write_out = write
        self._first: list[bytes] = []
        """Ticks and counts: no more than the front has asked for, so without a limit."""
        self._waiting: deque[list[bytes]] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self._is_stopped = False
        self._has_ended = threading.Event()
        start_thread(self._run, "backlog")

    def put(self, frames: list[bytes]) -> None:
        """Add frames, in order; waits while the backlog is full."""
        with self._changed:
            self._changed.wait_for(lambda: self._size < BACKLOG_LIMIT_BYTES)
            self._waiting.append(frames)
            self._size += sum(map(len, frames))
            self._changed.notify_all()

    def put_first(self, frames: list[bytes]) -> None:
        """Add frames, in order, before all messages that aren't written yet; never waits."""
        with self._changed:
            self._first += frames
            self._changed.notify_all()

    def stop(self) -> None:
        """Write what goes first, and nothing more; returns when it is written."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._has_ended.wait()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._first or self._waiting or self._is_stopped)
                first, self._first = self._first, []
                is_last = self._is_stopped
                frames = self._waiting.popleft() if self._waiting and not is_last else []
            self._write_out(first + frames)
            if is_last:
                self._has_ended.set()
                return
            with self._changed:
                self._size -= sum(map(len, frames))
                self._changed.notify_all()


class _Subscription:
    """A subscription to some channels of one Redis. `pubsub` is redis-py's, with no subscriptions yet."""

    def __init__(self, pubsub: Any, channels: list[str], sharded: bool) -> None:
        self._pubsub = pubsub
        self._pending = set(channels)
        self._last_word = time.monotonic()
        exact = [channel for channel in channels if sharded or not is_pattern(channel)]
        patterns = [channel for channel in channels if not sharded and is_pattern(channel)]
        if sharded:
            for channel in exact:  # one command may name channels of one slot only
                self._pubsub.ssubscribe(channel)
        else:
            self._pubsub.subscribe(*exact)
            if patterns:
                self._pubsub.psubscribe(*patterns)
        self._early: list[dict[str, Any]] = []

    def add(self, channel: str) -> None:
        """Subscribe to one more channel; `confirm` waits for the answer."""
        self._pending.add(channel)
        self._pubsub.subscribe(channel)

    def confirm(self) -> None:
        """Wait until Redis has confirmed all channels. Raises TimeoutError, or one of `connection.ERRORS`."""
        while self._pending:
            message = self._next(_PING_S)
            if message is None:
                raise TimeoutError("no answer to a subscription")
            if message["type"] in ("subscribe", "psubscribe", "ssubscribe"):
                self._pending.discard(message["channel"].decode(errors="surrogateescape"))
            elif message["type"] in _MESSAGE_TYPES:
                self._early.append(message)

    def receive(self) -> list[dict[str, Any]]:
        """Wait for a message; returns it with those that have arrived together, as redis-py's dicts."""
        messages, self._early = self._early, []
        timeout = 0.0 if messages else _PING_S
        size = 0
        while len(messages) < _BATCH and size < _BATCH_BYTES:
            message = self._next(timeout)
            if message is None:
                if messages:
                    break
                self._ping()
                continue
            if message["type"] in _MESSAGE_TYPES:
                messages.append(message)
                size += len(message["data"])
                timeout = 0.0
            elif message["type"] == "sunsubscribe":
                raise ConnectionResetError("the channel has moved to another node")
        return messages

    def _next(self, timeout: float) -> dict[str, Any] | None:
        """The next message; None when none begins within `timeout` seconds.

        A message that has begun has the whole reply timeout to arrive. From redis-py 8 on the timeout of `get_message`
        also bounds reading the message, and half a message would pass for a lost connection.
        """
        if not self._pubsub.connection.can_read(timeout=timeout):
            return None
        message: dict[str, Any] | None = self._pubsub.get_message(timeout=REPLY_TIMEOUT_S)
        if message is not None:
            self._last_word = time.monotonic()
        return message

    def _ping(self) -> None:
        """Ping Redis. Raises TimeoutError where nothing has come since the last two pings."""
        if time.monotonic() - self._last_word > 2 * _PING_S:
            raise TimeoutError("no answer to a ping")
        self._pubsub.ping()

    def close(self) -> None:
        close_quietly(self._pubsub)


_MESSAGE_TYPES = ("message", "pmessage", "smessage")


def _as_payload(data: bytes) -> str | bytes:
    """The payload as text if it is UTF-8: it doesn't say whether it was text or binary."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _encoded(event: Frame) -> bytes:
    return encode(stamp(event, 0, time.time()))


def _count(name: str, by: int = 1) -> bytes:
    return encode({"type": COUNT, "name": name, "by": by})


def _settings_of(arguments: list[str], environment: Mapping[str, str]) -> RedisSettings:
    """The settings of a source that is run by hand. Raises UsageError."""
    url, url_source = environment.get("FWS_REDIS_URL") or "redis://localhost:6379/0", "FWS_REDIS_URL"
    sharded = False
    channels = []
    while arguments:
        argument, *arguments = arguments
        if argument == "--redis-sharded":
            sharded = True
        elif argument == "--redis-url":
            if not arguments:
                raise UsageError("--redis-url wants a URL")
            url_source = argument
            url, *arguments = arguments
        elif argument.startswith("-"):
            raise UsageError(f"unknown option {argument!r}; see fws-source --help")
        else:
            channels.append(argument)
    try:
        check_url(url)
    except ValueError as error:
        raise UsageError(f"{url_source}: {error}") from None  # without the value, which may hold a password
    check_channels(channels, sharded=sharded)
    settings = RedisSettings(url, sharded=sharded)
    return replace(settings, channels=tuple(channels) or settings.channels)


def main() -> None:
    """Run fws-source."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    run_program("fws-source", lambda: _run(arguments))


def _run(arguments: list[str]) -> None:
    settings = settings_from(os.environ)
    if settings is None:
        settings = _settings_of(arguments, os.environ)
        try:
            check_reachable(settings)
        except SystemRefusedError:
            pass  # it may come later
        _source(settings).run()
    else:
        source = _source(settings)
        start_thread(source.follow_front, "front")
        source.run()


def _source(settings: RedisSettings) -> Source:
    return Source(settings, say)


if __name__ == "__main__":
    main()
