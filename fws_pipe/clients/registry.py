"""The clients by id, the groups, and the fan-out of actions to them. No I/O of its own: the wires do it."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from fws_pipe.clients.client import Client, GateAnswer
from fws_pipe.clients.slow_client import SlowClient
from fws_pipe.counters import Count, Counters
from fws_pipe.http.responses import Refusal
from fws_pipe.protocol.actions import EVERYONE, SEND
from fws_pipe.protocol.codec import Frame
from fws_pipe.websocket.outbox import OBJECT_BYTES
from fws_pipe.websocket.rfc6455 import TRY_AGAIN_LATER, encode_message, encode_messages
from fws_pipe.websocket.wire import Wire


def weight_of_group(name: str) -> int:
    """The approximate memory of one membership in bytes: each client keeps its own copy of the group's name."""
    return sys.getsizeof(name) + 2 * OBJECT_BYTES


_Target = tuple[str | list[str] | None, str | None, str | list[str] | None, bool]
"""`to`, `group` and `except` of a send, and whether it is also for other servers' clients."""

_NOBODY: _Target = (None, None, None, False)

_JOINED_BYTES = 64 * 1024
"""The size at which joined messages for the same receivers are queued, in bytes."""


def _nobodys(seqs: Sequence[object]) -> list[Client | None]:
    return [None] * len(seqs)


class Clients:
    """All clients of this server whose `open` the chain has got, by id, and the groups.

    `owners_of` returns the client whose event each of these `seq`s is; None for an event that the chain has finished.
    """

    def __init__(
        self,
        counters: Counters,
        slow_client: SlowClient = SlowClient.CLOSE,
        owners_of: Callable[[Sequence[object]], list[Client | None]] = _nobodys,
        max_groups: int = 0,
    ) -> None:
        self._counters = counters
        self._executed = counters.traffic.actions
        self._slow_client = slow_client
        self._owners_of = owners_of
        self._max_groups = max_groups
        self._by_id: dict[str, Client] = {}
        self._before_the_gate = 0
        self._followers: list[Callable[[Client], object]] = []
        self._groups: dict[str, dict[str, Client]] = {}
        self.groups_weight = 0
        """The approximate memory of the groups, in bytes."""
        self._touched: set[Wire] = set()
        self._target: _Target = _NOBODY
        self._frames: list[bytes] = []
        self._sends: list[Frame] = []
        """The actions that `_frames` were made of."""
        self._frames_size = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._by_id.values()))

    def __contains__(self, client: Client) -> bool:
        return client.id in self._by_id

    def add(self, client: Client) -> None:
        """Add a client whose `open` the chain gets. Until its handshake is complete only sends to its id reach it."""
        self._by_id[client.id] = client
        self._before_the_gate += 1

    def follow(self, follower: Callable[[Client], object]) -> None:
        """Call `follower` with each client that has come, has gone, or has changed its groups."""
        self._followers.append(follower)

    def _tell(self, client: Client) -> None:
        for follower in self._followers:
            follower(client)

    def open(self, client: Client) -> None:
        """Note that a client's handshake is complete."""
        client.is_open = True
        self._before_the_gate -= 1
        self._tell(client)

    def remove(self, client: Client) -> None:
        """Forget a client, and take it out of its groups. It keeps their names: see `Feed.departures`."""
        del self._by_id[client.id]
        self._before_the_gate -= not client.is_open
        for group in client.groups:
            self._forget_member(client, group)
        self._tell(client)

    def get(self, client_id: str) -> Client | None:
        """The client with this id, or None."""
        return self._by_id.get(client_id)

    def of(self, client_id: str) -> Client | None:
        """The client with this id; None, which is counted, when it has gone."""
        client = self._by_id.get(client_id)
        if client is None:
            self._counters.add(Count.GONE)
        return client

    def may_join(self, client: Client, group: str) -> bool:
        """Whether a client is in this group, or may join it under --max-groups."""
        return not 0 < self._max_groups <= len(client.groups) or group in client.groups

    def join(self, client_id: str, group: str) -> None:
        """Put a client into a group; a no-op when the client has gone."""
        client = self.of(client_id)
        if client is not None and group not in client.groups:
            client.join(group)
            self.groups_weight += weight_of_group(group)
            self._groups.setdefault(group, {})[client_id] = client
            self._tell(client)

    def leave(self, client_id: str, group: str) -> None:
        """Take a client out of a group; a no-op when it isn't a member."""
        client = self.of(client_id)
        if client is not None and group in client.groups:
            client.leave(group)
            self._forget_member(client, group)
            self._tell(client)

    def _forget_member(self, client: Client, group: str) -> None:
        self.groups_weight -= weight_of_group(group)
        members = self._groups[group]
        del members[client.id]
        if not members:
            del self._groups[group]

    def send(self, action: Frame) -> None:
        """Queue a `send` action; `flush` writes.

        The message is encoded once for all receivers; consecutive messages to the same receivers are queued as one
        block.
        """
        data = action["data"]
        if data == []:
            return  # no message at all
        target = (action.get("to"), action.get("group"), action.get("except"), "everywhere" in action)
        if target != self._target:
            self.deliver()
            self._target = target
        self._sends.append(action)
        if type(data) is list:
            frames = encode_messages(data)
            self._frames += frames
            self._frames_size += sum(map(len, frames))
        else:
            frame = encode_message(data)
            self._frames.append(frame)
            self._frames_size += len(frame)
        if self._frames_size >= _JOINED_BYTES:
            self.deliver()

    def deliver(self) -> None:
        """Move sent messages into the outboxes; call it before any other action on the clients."""
        if self._frames:
            self._touched.update([client.wire for client in self._pass_on(at_once=False)])

    def _pass_on(self, *, at_once: bool) -> list[Client]:
        """Pass sent messages to the wires of their receivers, to be queued or written at once; returns them."""
        frames, self._frames, self._frames_size = self._frames, [], 0
        sends, self._sends = self._sends, []
        to, group, without, is_everywhere = self._target
        self._target = _NOBODY
        self._executed[SEND] += len(frames)
        block = frames[0] if len(frames) == 1 else b"".join(frames)
        count = len(frames)
        is_run = count > 1
        # With `everywhere` most receivers are other servers' clients: those that aren't here don't count as gone.
        receivers = self._receivers(to, group, without, 0 if is_everywhere else len(frames))
        weight = len(block) // len(receivers) + 1 if receivers else 0
        owners: list[Client | None] | None = None
        for client in receivers:
            wire = client.wire
            if is_run and len(block) > wire.outbox.limit:
                is_taken = False
            else:
                is_taken = wire.write(block, weight) if at_once else wire.post(block, weight)
            if is_taken:
                client.messages_out += count
            else:
                if owners is None:
                    owners = self._owners(sends)
                self._pass_on_behind(client, frames, owners, block, weight)
        return receivers

    def _owners(self, sends: Iterable[Frame]) -> list[Client | None]:
        """For each message of these actions the client whose event caused it; None: unknown."""
        seqs: list[object] = []
        for action in sends:
            data, seq = action["data"], action.get("seq")
            count = len(data) if type(data) is list else 1
            seqs += seq if type(seq) is list else [seq] * count
        return self._owners_of(seqs)

    def _pass_on_behind(
        self, client: Client, frames: list[bytes], owners: list[Client | None], block: bytes, weight: int
    ) -> None:
        """Queue frames, which together are `block`, for a client that reads slowly."""
        # A client that waits at the gate can't read yet, so nothing counts as its own replies.
        count_own = owners.count(client) if client.is_open else 0
        if not count_own:
            self._post_run(client, frames, block, weight, is_own=False)
        elif count_own == len(frames):
            self._post_run(client, frames, block, 0, is_own=True)
        else:
            for is_own, run in itertools.groupby(zip(frames, owners, strict=True), lambda each: each[1] is client):
                part = [frame for frame, _ in run]
                self._post_run(client, part, b"".join(part), 0, is_own=is_own)

    def _post_run(self, client: Client, frames: list[bytes], block: bytes, weight: int, *, is_own: bool) -> None:
        is_too_long = not is_own and len(frames) > 1 and len(block) > client.wire.outbox.limit
        if not is_too_long and client.wire.post_behind(block, weight, is_own=is_own):
            client.messages_out += len(frames)
            self._touched.add(client.wire)
        elif client.wire.is_closing:
            self._counters.add(Count.GONE, len(frames))
        else:
            for frame in frames:  # some of them may fit
                self._post(client, frame, is_own=is_own)

    def _receivers(
        self, to: str | list[str] | None, group: str | None, without: str | list[str] | None, messages: int
    ) -> list[Client]:
        candidates: Iterable[Client]
        if type(to) is str and without is None and to in self._by_id:
            return [self._by_id[to]]
        if group is not None:
            members = self._groups.get(group, {}).values()
            candidates = [client for client in members if client.is_open]
        elif to == EVERYONE:
            candidates = self._everyone()
        else:
            candidates = self._named(to or [], messages)
        if without is None:
            return list(candidates)
        if isinstance(without, str):
            excluded_client = self._by_id.get(without)
            return [client for client in candidates if client is not excluded_client]
        excluded = set(without)
        return [client for client in candidates if client.id not in excluded]

    def reached_by(self, action: Frame) -> int:
        """How many clients a `send` or a `close` reaches now."""
        receivers = self._receivers(action.get("to"), action.get("group"), action.get("except"), 0)
        return sum(client.is_open and not client.wire.is_closing for client in receivers)

    def _everyone(self) -> Iterable[Client]:
        if not self._before_the_gate:
            return self._by_id.values()
        return [client for client in self._by_id.values() if client.is_open]

    def _named(self, to: str | list[str], messages: int = 1) -> Iterator[Client]:
        """Yield the clients with these ids; for each that has gone, its messages are counted."""
        for client_id in [to] if isinstance(to, str) else to:
            client = self._by_id.get(client_id)
            if client is not None:
                yield client
            else:
                self._counters.add(Count.GONE, messages)

    def _post(self, client: Client, frame: bytes, *, is_own: bool) -> None:
        if client.wire.post_behind(frame, is_own=is_own):
            client.messages_out += 1
            self._touched.add(client.wire)
        elif client.wire.is_closing:
            self._counters.add(Count.GONE)
        elif not client.is_open:
            client.answer(GateAnswer(Refusal(503, "More waits for you than may.")))
        else:
            self._too_slow(client, frame)

    def _too_slow(self, client: Client, frame: bytes) -> None:
        """Apply --slow-client to a client whose outbox is full."""
        wire = client.wire
        if self._slow_client is SlowClient.CLOSE:
            self._counters.add(Count.SLOW)
            wire.outbox.drop_unstarted()
            wire.fail(TRY_AGAIN_LATER, "too slow: more waits for you than may")
            return
        if self._slow_client is SlowClient.DROP_OLDEST:
            dropped = wire.outbox.make_room(len(frame))
            self._counters.add(Count.DROPPED_FOR_SLOW, dropped)
            client.messages_out -= dropped
            if wire.post_behind(frame, is_own=False):
                client.messages_out += 1
                return
        self._counters.add(Count.DROPPED_FOR_SLOW)

    def close(self, action: Frame) -> None:
        """Execute a `close` action."""
        to = action["to"]
        text = "The chain has closed this connection."
        targets = list(self._everyone() if to == EVERYONE else self._named(to))
        for client in targets:
            if client.is_open:
                client.wire.begin_close(action.get("code", 1000), action.get("reason", ""))
            else:
                client.answer(GateAnswer(Refusal(403, action.get("reason") or text, reason="the chain has closed it")))

    def flush(self) -> None:
        """Write to each client that was sent messages since the last flush."""
        if self._frames and not self._touched:
            self._pass_on(at_once=True)  # nothing else waits: no need to queue it first
        else:
            self.deliver()
        for wire in self._touched:
            wire.flush()
        self._touched.clear()
