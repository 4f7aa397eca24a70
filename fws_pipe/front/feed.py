"""The events' way to the chain: numbered, batched, each batch closed by a tick.

Reads: events from clients (which wait here when the chain is slow) and from the chain's own actions (which don't: see
`put_nowait`). Writes: one block a batch, through whatever `write` it is run with. Never: drops an event of a client.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import trio

from fws_pipe.front.journal import Entry, Journal
from fws_pipe.protocol.codec import PIPE_BYTES, Frame, encode
from fws_pipe.protocol.events import DISCONNECT, OPEN, stamp, tick_event

if TYPE_CHECKING:
    from fws_pipe.front.clients import Client

WAITING_LIMIT_BYTES = 1024 * 1024
"""How much waits before clients have to: as much as the pipe behind it holds."""

LOOP_LIMIT_BYTES = 64 * 1024 * 1024
"""How much the chain's own consumer events may add; only a chain that makes more of them than it reads gets there."""

HEARTBEAT_S = 5.0
"""An idle chain gets a tick this often: often enough to notice a hung stage, too seldom to cost anything."""

ClientEntry = Entry["Client"]

_SNAPSHOT = "snapshot"
"""The kind of an entry that repeats an `open`: it belongs to one run of the chain."""


class Feed:
    """What waits for the chain, and what is under way in it."""

    def __init__(self) -> None:
        self._journal: Journal[Client] = Journal()
        self._snapshot: list[ClientEntry] = []
        self._waiting: deque[ClientEntry] = deque()
        self._size = 0
        self._seq = 0
        self._work = trio.Event()
        self._room = trio.lowlevel.ParkingLot()
        self._settled = trio.lowlevel.ParkingLot()
        self._settled_seq = 0
        self._closed = False
        self.ready = trio.Event()
        """Set once a tick of this run has come back."""
        self.swallows_ticks = False
        """True when this run of the chain has been found to let no tick through."""
        self._swallowed_ticks_before = False
        self.dropped = 0
        """Consumer events that found no room."""

    async def put(self, event: Frame, client: Client) -> None:
        """Queue a client's event; waits while the chain, or this client's share of it, is full."""
        size = _weight(event)
        while not self._closed and ((must_wait := client.must_wait(size)) or self._is_full):
            await (client.share if must_wait else self._room).park()
        self._append(event, client)

    @property
    def _is_full(self) -> bool:
        return self._size >= WAITING_LIMIT_BYTES

    def close(self, clients: Iterable[Client]) -> None:
        """There is no time left: whoever waits to put an event, or will, need not."""
        self._closed = True
        self._room.unpark_all()
        self._settled.unpark_all()
        for client in clients:
            client.share.unpark_all()

    async def put_from_outside(self, event: Frame) -> None:
        """Queue an event that is no client's; waits while the chain is full."""
        while not self._closed and self._is_full:
            await self._room.park()
        self._append(event, None)

    def put_disconnect(self, event: Frame, client: Client) -> None:
        """Queue a client's last event, which never waits: its `open` has waited, and it is smaller."""
        self._append(event, client)

    def put_nowait(self, event: Frame) -> bool:
        """Queue an event that the chain itself has caused. False, and counted, when there is no room.

        Waiting would be a deadlock: the chain would wait for the front to take its actions, and the front for the
        chain to take this event. Clients wait instead, since these events fill the queue first.
        """
        if self._size >= LOOP_LIMIT_BYTES:
            self.dropped += 1
            return False
        self._append(event, None)
        return True

    def _append(self, event: Frame, client: Client | None) -> None:
        stamped = self._stamped(event)
        frame = encode(stamped)
        if client is not None:
            if stamped["type"] == OPEN:
                client.open_event = stamped
            client.charge(len(frame))
        self._waiting.append(Entry(frame, stamped["type"], client))
        self._size += len(frame)
        self._work.set()

    def _stamped(self, event: Frame) -> Frame:
        self._seq += 1
        return stamp(event, self._seq, time.time())

    async def run(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write batches for ever.

        The first one at once: the snapshot, if there is one, and a tick that tells when the chain serves. The events
        follow when it is back, so that one which kills the chain does not pass for a chain that can't start.
        """
        first = self._snapshot_batch()
        await write(first)
        written = len(first)
        if not self._swallowed_ticks_before:
            await self.ready.wait()
        while True:
            with trio.move_on_after(HEARTBEAT_S):
                await self._work.wait()
            batch, seq = self._take_batch()
            await write(batch)
            written += len(batch)
            if self.swallows_ticks:
                self._journal.forget_before(written - PIPE_BYTES)
                self._settle(seq)

    def _snapshot_batch(self) -> bytes:
        entries, self._snapshot = self._snapshot, []
        return self._journal.add(entries, encode(self._stamped(tick_event())), self._seq)

    def _take_batch(self) -> tuple[bytes, int]:
        entries = list(self._waiting)
        self._waiting.clear()
        self._size = 0
        self._work = trio.Event()
        self._room.unpark_all()
        if self.swallows_ticks:
            _release(entries)
        tick = encode(self._stamped(tick_event()))
        return self._journal.add(entries, tick, self._seq), self._seq

    def _settle(self, seq: int) -> None:
        self._settled_seq = max(seq, self._settled_seq)
        self._settled.unpark_all()

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
        _release(self._journal.entries())
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
        read, unread = self._journal.end(consumed)
        _release(read)
        # A snapshot that the dead chain had not read is out of date: a new one is made below.
        waiting = [entry for entry in (*unread, *self._waiting) if entry.kind != _SNAPSHOT]
        announced = {entry.owner for entry in waiting if entry.kind == OPEN}
        leaving = {entry.owner: None for entry in waiting if entry.kind == DISCONNECT and entry.owner}
        snapshot = [client for client in {**dict.fromkeys(clients), **leaving} if client not in announced]
        self._snapshot = [_snapshot_entry(client) for client in snapshot if client.open_event]
        self._waiting = deque(waiting)
        if waiting:
            self._work.set()
        self._size = sum(len(entry.frame) for entry in self._waiting)
        self.ready = trio.Event()
        self.swallows_ticks = False
        return sum(entry.kind != _SNAPSHOT for entry in read), len(waiting)


def _weight(event: Frame) -> int:
    data = event.get("data", b"")
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())


def _snapshot_entry(client: Client) -> ClientEntry:
    # A client before the gate still waits for an answer: for the next chain it is new.
    now = {"groups": sorted(client.groups), "replay": client.is_open}
    return Entry(encode({**(client.open_event or {}), **now}), _SNAPSHOT, None)


def _release(entries: Iterable[ClientEntry]) -> None:
    for entry in entries:
        if entry.owner is not None and entry.is_charged:
            entry.is_charged = False
            entry.owner.discharge(len(entry.frame))
