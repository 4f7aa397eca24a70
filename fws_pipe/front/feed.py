"""The events' way to the chain: numbered, batched, each batch closed by a tick.

Reads: events from clients, and from the chain's own actions (which never wait: see `put_nowait`). Writes: one block a
batch, at once where the pipe takes it, through a task where it doesn't. Never: drops an event of a client.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import trio

from fws_pipe.front.frames import event_time, take_messages, tick_frame
from fws_pipe.front.journal import Charge, Journal, Kept, frames_of
from fws_pipe.pipes import Outlet
from fws_pipe.protocol.codec import PIPE_BYTES, Frame, encode
from fws_pipe.protocol.events import DISCONNECT, OPEN, TICK, stamp

if TYPE_CHECKING:
    from fws_pipe.front.clients import Client

WAITING_LIMIT_BYTES = 1024 * 1024
"""How much waits before clients have to: as much as the pipe behind it holds."""

LOOP_LIMIT_BYTES = 64 * 1024 * 1024
"""How much the chain's own consumer events may add; only a chain that makes more of them than it reads gets there."""

HEARTBEAT_S = 5.0
"""An idle chain gets a tick this often: often enough to notice a hung stage, too seldom to cost anything."""


class Feed:
    """What waits for the chain, and what is under way in it."""

    def __init__(self) -> None:
        self._journal: Journal[Client] = Journal()
        self._snapshot: list[bytes] = []
        self._waiting: list[bytes] = []
        self._charges: list[Charge[Client]] = []
        self._size = 0
        self._seq = 0
        self._work = trio.Event()
        self._room = trio.lowlevel.ParkingLot()
        self._settled = trio.lowlevel.ParkingLot()
        self._settled_seq = 0
        self._closed = False
        self._pipe: Outlet | None = None
        """The chain's, while it takes events and none is being written."""
        self._rest = b""
        """What the pipe had no room for at once."""
        self._leaving: dict[str, tuple[Client, int]] = {}
        """Those whose `disconnect` may not have been read: a new chain must hear of their `open` first."""
        self._written = 0
        self.ready = trio.Event()
        """Set once a tick of this run has come back."""
        self.swallows_ticks = False
        """True when this run of the chain has been found to let no tick through."""
        self._swallowed_ticks_before = False
        self.dropped = 0
        """Consumer events that found no room."""

    # What comes in.

    def put_messages(self, client: Client, block: bytes, position: int, limit: int) -> int:
        """Queue the plain messages at the beginning of what a client has sent; returns where the rest begins.

        Never waits: it takes what the client has room for, and who calls it stops reading all when `is_full` says so.
        `flush` writes.
        """
        middle = event_time(time.time()) + client.event_tail
        events, position, self._seq = take_messages(block, position, limit, client.budget, middle, self._seq)
        if events:
            self._waiting += events
            self._add(client, sum(map(len, events)), len(events))
        return position

    def _add(self, client: Client, size: int, count: int) -> None:
        client.charge(size, count)
        self._charges.append(Charge(client, size, count))
        self._size += size

    async def put(self, event: Frame, client: Client) -> None:
        """Queue a client's event; waits while the chain, or this client's share of it, is full."""
        size = _weight(event)
        while not self._closed and ((must_wait := client.must_wait(size)) or self.is_full):
            await (client.wait_share() if must_wait else self._room.park())
        self.put_at_once(event, client)

    def put_at_once(self, event: Frame, client: Client) -> None:
        """Queue a client's event that can't wait, or has waited already."""
        stamped = self._stamped(event)
        frame = encode(stamped)
        if stamped["type"] == OPEN:
            client.open_event = frame
        self._waiting.append(frame)
        self._add(client, len(frame), 1)
        self._work.set()

    @property
    def is_full(self) -> bool:
        """Whether the chain is so slow that nobody may be read."""
        return self._size >= WAITING_LIMIT_BYTES

    async def wait_room(self) -> None:
        """Wait while the feed is full."""
        while not self._closed and self.is_full:
            await self._room.park()

    def close(self, clients: Iterable[Client]) -> None:
        """There is no time left: whoever waits to put an event, or will, need not."""
        self._closed = True
        self._room.unpark_all()
        self._settled.unpark_all()
        for client in clients:
            client.stop_waiting()

    async def put_from_outside(self, event: Frame) -> None:
        """Queue an event that is no client's; waits while the chain is full."""
        await self.wait_room()
        self._append(event)

    def put_disconnect(self, event: Frame, client: Client) -> None:
        """Queue a client's last event, which never waits: its `open` has waited, and it is smaller."""
        self.put_at_once(event, client)
        self._leaving[client.id] = client, self._seq

    def put_nowait(self, event: Frame) -> bool:
        """Queue an event that the chain itself has caused. False, and counted, when there is no room.

        Waiting would be a deadlock: the chain would wait for the front to take its actions, and the front for the
        chain to take this event. Clients wait instead, since these events fill the queue first.
        """
        if self._size >= LOOP_LIMIT_BYTES:
            self.dropped += 1
            return False
        self._append(event)
        return True

    def _append(self, event: Frame) -> None:
        frame = encode(self._stamped(event))
        self._waiting.append(frame)
        self._size += len(frame)
        self._work.set()

    def _stamped(self, event: Frame) -> Frame:
        self._seq += 1
        return stamp(event, self._seq, time.time())

    # What goes out.

    async def run(self, pipe: Outlet) -> None:
        """Write batches for ever.

        The first one at once: the snapshot, if there is one, and a tick that tells when the chain serves. The events
        follow when it is back, so that one which kills the chain does not pass for a chain that can't start.
        """
        self._written = 0
        self._rest = b""
        snapshot, self._snapshot = self._snapshot, []
        try:
            await self._write(pipe, self._batch_of(snapshot, []))
            if not self._swallowed_ticks_before:
                await self.ready.wait()
            while True:
                if self._waiting:
                    await self._write(pipe, self._take_batch())
                self._pipe = pipe
                with trio.move_on_after(HEARTBEAT_S) as heartbeat:
                    await self._work.wait()
                self._pipe = None
                self._work = trio.Event()
                if self._rest:
                    rest, self._rest = self._rest, b""
                    await pipe.write(rest)
                    self._note_written()
                elif heartbeat.cancelled_caught:
                    await self._write(pipe, self._take_batch())
        finally:
            self._pipe = None

    def flush(self) -> None:
        """Write what waits, if the chain takes it at once; otherwise `run` does when it can."""
        if not self._waiting:
            return
        if self._pipe is None or self._rest:
            self._work.set()
            return
        batch = self._take_batch()
        count = self._pipe.write_nowait(batch)
        self._written += len(batch)
        if count < len(batch):
            self._rest = batch[count:]
            self._work.set()
        else:
            self._note_written()

    async def _write(self, pipe: Outlet, batch: bytes) -> None:
        self._written += len(batch)
        await pipe.write(batch)
        self._note_written()

    def _note_written(self) -> None:
        if self.swallows_ticks:
            self._journal.forget_before(self._written - PIPE_BYTES)
            self._settle(self._seq)

    def _take_batch(self) -> bytes:
        events, self._waiting = self._waiting, []
        charges, self._charges = self._charges, []
        self._size = 0
        self._room.unpark_all()
        return self._batch_of(events, charges)

    def _batch_of(self, events: list[bytes], charges: list[Charge[Client]]) -> bytes:
        if self.swallows_ticks:
            charges = _release(charges)
        self._seq += 1
        events.append(tick_frame(self._seq, event_time(time.time())))
        batch = b"".join(events)
        self._journal.add(batch, self._seq, charges)
        return batch

    # What comes back.

    def _settle(self, seq: int) -> None:
        self._settled_seq = max(seq, self._settled_seq)
        self._settled.unpark_all()
        while self._leaving:
            client, departure = next(iter(self._leaving.values()))
            if departure > self._settled_seq:
                break
            del self._leaving[client.id]

    def acknowledge(self, seq: int) -> None:
        """A tick has come back."""
        self.swallows_ticks = self._swallowed_ticks_before = False
        self.ready.set()
        _release(self._journal.acknowledge(seq))
        self._settle(seq)

    def give_up_on_ticks(self) -> None:
        """No tick will come back: what is written counts as done, and recovery is at most once."""
        self.swallows_ticks = self._swallowed_ticks_before = True
        self.ready.set()
        _release(self._journal.charges())
        self._settle(self._seq)

    async def wait_settled(self) -> None:
        """Wait until all that has been put so far is through the chain, or written to one that swallows ticks."""
        target = self._seq
        while self._settled_seq < target and not self._closed:
            await self._settled.park()

    def restart(self, consumed: int, clients: Iterable[Client]) -> tuple[int, int]:
        """The chain has died, having read `consumed` bytes: prepare what the next one gets.

        First a snapshot: an `open` with `replay` for each client whose own one the dead chain had read. Then
        what nobody has read. Returns how many events are lost, and how many wait.
        """
        _release([*self._journal.charges(), *self._charges])
        read, unread = self._journal.end(consumed)
        leaving = {client.id: client for client, _ in self._leaving.values()}
        owners = {**{client.id: client for client in clients}, **leaving}
        # A snapshot that the dead chain had not read is out of date: a new one is made below. Ticks are as well.
        waiting = [kept for kept in (*unread, *frames_of(self._waiting)) if _is_news(kept)]
        announced = {kept.event["id"] for kept in waiting if kept.event["type"] == OPEN}
        departing = {kept.event["id"] for kept in waiting if kept.event["type"] == DISCONNECT}
        self._snapshot = [
            _snapshot_of(client)
            for client in owners.values()
            if client.open_event and client.id not in announced and (client.id in departing or client.id not in leaving)
        ]
        self._waiting, self._charges, self._size = [], [], 0
        for kept in waiting:
            self._waiting.append(kept.raw)
            owner = owners.get(kept.event.get("id", ""))
            if owner is not None:
                self._add(owner, len(kept.raw), 1)
            else:
                self._size += len(kept.raw)
        self._work.set()
        self.ready = trio.Event()
        self.swallows_ticks = False
        return sum(map(_is_news, read)), len(waiting)


def _weight(event: Frame) -> int:
    data = event.get("data", b"")
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())


def _is_news(kept: Kept) -> bool:
    return kept.event["type"] != TICK and not kept.event.get("replay")


def _snapshot_of(client: Client) -> bytes:
    ((event, _),) = frames_of([client.open_event])
    # A client before the gate still waits for an answer: for the next chain it is new.
    return encode({**event, "auth": client.auth, "groups": sorted(client.groups), "replay": client.is_open})


def _release(charges: Iterable[Charge[Client]]) -> list[Charge[Client]]:
    """Free the owners of their charges; returns what is left of these: nothing."""
    for client, size, count in charges:
        client.discharge(size, count)
    return []
