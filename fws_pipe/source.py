"""The source: what is published in Redis comes in, who is here goes out.

Reads: Redis, with plain blocking redis-py, and, on stdin, who the server's clients are. Writes: `consumer` events
and other servers' actions on stdout, whole frames only. When stdout is full Redis isn't read either. Never: gives up on
a Redis that is away.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fws_pipe.errors import EXIT_OK, UsageError
from fws_pipe.membership import MembershipWriter
from fws_pipe.protocol.actions import COUNT
from fws_pipe.protocol.blocks import STDIN, BlockWriter, OutputClosedError, run_program
from fws_pipe.protocol.codec import BLOCK_BYTES, Frame, FrameDecoder, encode, type_of
from fws_pipe.protocol.events import PRESENCE, TICK, consumer_event, stamp
from fws_pipe.protocol.relay import RelayReceiver
from fws_pipe.publisher import jittered_delays
from fws_pipe.redis_link import ERRORS, Client, RedisSettings, check_url, connect, explain, is_pattern, settings_from

_HELP = """usage: fws-source [--redis-url URL] [--redis-sharded] [CHANNEL…]

Subscribes to channels of Redis ("global" unless told; a name with * or ? stands for many) and writes what is published
there on stdout, as consumer events. fws-pipe runs it by itself; by hand it stands beside the chain:

  mkfifo back; fws-front <back | broadcast_pubsub | fws-sink >back & fws-source news 'chat.*' >back
"""

_PING_S = 5.0
"""How long a subscription may be silent before Redis is asked whether it is still there."""

_BATCH = 1000


class Source:
    """Several threads write through one of these: one for each subscription, one for membership."""

    def __init__(self, settings: RedisSettings, say: Callable[[str], object]) -> None:
        self._settings = settings
        self._say = say
        self._output = BlockWriter()
        self._output_lock = threading.Lock()
        self._receiver = RelayReceiver(settings.server)
        self._is_subscribed = False
        self._ticks: list[bytes] = []
        self._away_since: float | None = None

    # Subscriptions.

    def run(self) -> None:
        """Subscribe, and again whenever Redis was away, for ever."""
        next_delay = jittered_delays()
        while True:
            try:
                self._follow(self._note_subscribed)
            except ERRORS as error:
                if self._away_since is None:
                    next_delay = jittered_delays()
                    self._note_lost(error)
            time.sleep(next_delay())

    def _follow(self, on_subscribed: Callable[[], None]) -> None:
        """Subscribe and relay until something fails. Raises one of `redis_link.ERRORS`."""
        client = connect(self._settings)
        try:
            subscriptions = [_Subscription(*part) for part in self._parts(client)]
            try:
                for subscription in subscriptions:
                    subscription.confirm()
                on_subscribed()
                self._relay_all(subscriptions)
            finally:
                for subscription in subscriptions:
                    subscription.close()
        finally:
            client.close()

    def _parts(self, client: Client) -> list[tuple[Client, list[str], bool]]:
        """Who has to be asked for which channels: one Redis for all, or (SSUBSCRIBE) each channel's node."""
        channels = [*self._settings.channels, self._settings.servers_channel]
        if not self._settings.sharded:
            return [(client, channels, False)]
        nodes: dict[str, tuple[Client, list[str], bool]] = {}
        for channel in channels:
            node = client.get_node_from_key(channel)
            nodes.setdefault(node.name, (client.get_redis_connection(node), [], True))[1].append(channel)
        return list(nodes.values())

    def _relay_all(self, subscriptions: list[_Subscription]) -> None:
        """Relay them all, each in a thread of its own; the first that fails ends it. Raises its error."""
        if len(subscriptions) == 1:
            self._relay(subscriptions[0])
        failures: list[BaseException] = []
        failed = threading.Event()

        def relay(subscription: _Subscription) -> None:
            try:
                self._relay(subscription)
            except (*ERRORS, OutputClosedError) as error:
                failures.append(error)
                failed.set()

        threads = [threading.Thread(target=relay, args=(one,), daemon=True) for one in subscriptions]
        for thread in threads:
            thread.start()
        failed.wait()
        raise failures[0]

    def _relay(self, subscription: _Subscription) -> None:
        while True:
            messages = subscription.receive()
            self._write([frame for message in messages for frame in self._frames_of(message)])

    def _frames_of(self, message: dict[str, Any]) -> list[bytes]:
        channel = message["channel"].decode(errors="surrogateescape")
        if channel != self._settings.servers_channel:
            return [_encoded(consumer_event(channel, _as_payload(message["data"]), None))]
        if message["type"] == "pmessage":
            return []  # a subscription to "*" gets it a second time
        relayed = self._receiver.unwrap(message["data"])
        if relayed is None:
            return []
        frames = [encode(relayed.action)]
        if relayed.missed:
            self._say(f"missed {relayed.missed} actions of other servers while away from Redis")
            frames.append(_count("actions of other servers missed", relayed.missed))
        return frames

    def _note_lost(self, error: Exception) -> None:
        self._away_since = time.monotonic()
        self._say(f"{explain(error, self._settings)}; what is published meanwhile is missed")
        self._write([_count("redis lost by the source")])

    def _note_subscribed(self) -> None:
        if self._away_since is not None:
            away_s = time.monotonic() - self._away_since
            self._say(f"subscribed again to Redis at {self._settings.address}, after {away_s:.1f} s")
            self._write([_count("redis found again by the source")])
        self._away_since = None
        with self._output_lock:
            self._is_subscribed = True
            ticks, self._ticks = self._ticks, []
        self._write(ticks)

    # The server's words.

    def follow_server(self) -> None:
        """Keep membership as the server tells it on stdin, until its end; then end the process."""
        writer = MembershipWriter(self._settings)
        decoder = FrameDecoder("the front")
        refresh_s = self._settings.expiry_s / 3
        next_refresh = time.monotonic()
        while True:
            timeout = max(0.0, next_refresh - time.monotonic())
            has_input = bool(select.select([STDIN], [], [], timeout)[0])
            if has_input:
                block = os.read(STDIN, BLOCK_BYTES)
                if not block:
                    self._end(writer)
                decoder.feed(block)
                for frame, raw in decoder:
                    self._take(frame, raw, writer)
            try:
                if has_input:
                    writer.write()
                else:
                    next_refresh = time.monotonic() + refresh_s
                    writer.refresh()
            except ERRORS:
                # The subscription notices as well, and tells. Membership is written whole at the next refresh.
                writer.disconnect()
                next_refresh = time.monotonic() + min(1.0, refresh_s)

    def _take(self, frame: Frame, raw: bytes, writer: MembershipWriter) -> None:
        kind = type_of(frame)
        if kind == PRESENCE:
            writer.note(frame["id"], frame["groups"])
        elif kind == TICK:
            with self._output_lock:
                if not self._is_subscribed:
                    self._ticks.append(raw)
                    return
            self._write([raw])

    def _end(self, writer: MembershipWriter) -> None:
        try:
            writer.remove()
        except ERRORS:
            pass  # it expires
        with self._output_lock:  # no frame is left half-written
            os._exit(EXIT_OK)

    def _write(self, frames: list[bytes]) -> None:
        with self._output_lock:
            for frame in frames:
                self._output.add(frame)
            self._output.flush()


class _Subscription:
    """Some channels of one Redis."""

    def __init__(self, client: Client, channels: list[str], sharded: bool) -> None:
        self._pubsub = client.pubsub()
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

    def confirm(self) -> None:
        """Wait until Redis has confirmed all of it."""
        while self._pending:
            message = self._next(_PING_S)
            if message is None:
                raise TimeoutError("no answer to a subscription")
            if message["type"] in ("subscribe", "psubscribe", "ssubscribe"):
                self._pending.discard(message["channel"].decode(errors="surrogateescape"))
            elif message["type"] in _MESSAGE_TYPES:
                self._early.append(message)

    def receive(self) -> list[dict[str, Any]]:
        """The next messages: waits for one, and takes those that have come with it."""
        messages, self._early = self._early, []
        timeout = 0.0 if messages else _PING_S
        while len(messages) < _BATCH:
            message = self._next(timeout)
            if message is None:
                if messages:
                    break
                self._ask_for_life()
                continue
            if message["type"] in _MESSAGE_TYPES:
                messages.append(message)
                timeout = 0.0
            elif message["type"] == "sunsubscribe":
                raise ConnectionResetError("the channel has moved to another node")
        return messages

    def _next(self, timeout: float) -> dict[str, Any] | None:
        message: dict[str, Any] | None = self._pubsub.get_message(timeout=timeout)
        if message is not None:
            self._last_word = time.monotonic()
        return message

    def _ask_for_life(self) -> None:
        if time.monotonic() - self._last_word > 2 * _PING_S:
            raise TimeoutError("no answer to a ping")
        self._pubsub.ping()

    def close(self) -> None:
        try:
            self._pubsub.close()
        except ERRORS:
            pass  # it is of no use any more


_MESSAGE_TYPES = ("message", "pmessage", "smessage")


def _as_payload(data: bytes) -> str | bytes:
    """Text where it can be text: a plain payload does not say which it was."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _encoded(event: Frame) -> bytes:
    return encode(stamp(event, 0, time.time()))


def _count(name: str, by: int = 1) -> bytes:
    return encode({"type": COUNT, "name": name, "by": by})


def _settings_of(arguments: list[str]) -> RedisSettings:
    """The settings for a source that is run by hand. Raises UsageError."""
    settings = RedisSettings("redis://localhost:6379/0", server=f"source-{os.getpid()}")
    channels = []
    while arguments:
        argument, *arguments = arguments
        if argument == "--redis-sharded":
            settings = replace(settings, sharded=True)
        elif argument == "--redis-url":
            if not arguments:
                raise UsageError("--redis-url wants a URL")
            url, *arguments = arguments
            try:
                settings = replace(settings, url=check_url(url))
            except ValueError as error:
                raise UsageError(f"--redis-url: {error}, got {url!r}") from None
        elif argument.startswith("-"):
            raise UsageError(f"unknown option {argument!r}; see fws-source --help")
        else:
            channels.append(argument)
    return replace(settings, channels=tuple(channels) or settings.channels)


def main() -> None:
    """Run fws-source."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("-h", "--help"):
        print(_HELP, end="")
        return

    def follow() -> None:
        settings = settings_from(os.environ)
        source = Source(settings or _settings_of(arguments), lambda text: print(text, file=sys.stderr, flush=True))
        if settings is not None:
            threading.Thread(target=source.follow_server, name="membership", daemon=True).start()
        source.run()

    run_program("fws-source", follow)


if __name__ == "__main__":
    main()
