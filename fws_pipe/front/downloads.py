"""Sends files to clients that have asked for a page: so many at a time, and none to a client that reads too slowly.

A file has no place in the lobby, so a slow reader holds up no handshake. Where all places are taken, the server ends a
download of which the client has taken nothing for SLOW_S; of several, one of the address that has the most of them.
Where there is none the newcomer waits for PATIENCE_S, and gets 503.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable

import trio

from fws_pipe.admission.proxies import group_of
from fws_pipe.counters import Count, Counters
from fws_pipe.http.refusals import Refusals
from fws_pipe.http.responses import FileResponse, Refusal
from fws_pipe.websocket.wire import Wire

CHUNK_BYTES = 32 * 1024
"""How much of a file is in the server's memory at a time."""

STALL_S = 30.0
"""How long a client may take for one chunk."""

SLOW_S = 1.0
"""How long a client may take nothing while others wait for a place."""

PATIENCE_S = 5.0
"""How long a client waits for a place."""

BUSY = Refusal(503, "This server sends as many files as it may. Try again later.", (("Retry-After", "5"),))


class Downloads:
    """Sends files, `limit` at a time; 0: any number. `forget` is called with each wire that has been closed."""

    def __init__(self, limit: int, forget: Callable[[Wire], object], counters: Counters, refusals: Refusals) -> None:
        self._limit = limit
        self._forget = forget
        self._counters = counters
        self._refusals = refusals
        self._under_way: set[_Download] = set()
        self._changed = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._under_way)

    async def wait_place(self) -> bool:
        """Wait until there is a place. False: there has been none for PATIENCE_S."""
        with trio.move_on_after(PATIENCE_S):
            while 0 < self._limit <= len(self._under_way):
                slow = self._slowest(trio.current_time())
                if slow is not None:
                    self._end(slow, "took nothing of a file while others waited")
                    continue
                with trio.move_on_after(SLOW_S / 4):
                    await self._changed.park()
            return True
        return False

    def _slowest(self, now: float) -> _Download | None:
        """The download that has stood still for longest, of the address with most that do; None: none does."""
        slow = [download for download in self._under_way if now - download.last_taken >= SLOW_S]
        sizes = Tally(download.group for download in slow)
        return max(slow, key=lambda download: (sizes[download.group], -download.last_taken), default=None)

    def _end(self, download: _Download, reason: str) -> None:
        self._counters.add(Count.FILE_TOO_SLOW)
        self._refusals.tell(download.wire.remote, reason)
        download.wire.abort()

    def take_place(self, wire: Wire) -> None:
        """Give a place to a client, until its wire is closed. Call it without a checkpoint after `wait_place`."""
        download = _Download(self, wire)
        self._under_way.add(download)
        wire.hand_over(download)
        wire.transport.limit_unsent(CHUNK_BYTES)

    def leave(self, download: _Download) -> None:
        """A download's connection has been closed."""
        self._under_way.discard(download)
        self._changed.unpark_all()
        self._forget(download.wire)

    async def wait_empty(self) -> None:
        """Wait until no download is left."""
        while self._under_way:
            await self._changed.park()

    async def send(self, wire: Wire, response: FileResponse) -> None:
        """Send a response with its file, to its end or the connection's."""
        wire.send_response(response.encode_head())
        sent = 0
        while response.has_body and sent < response.length and not wire.is_closed:
            block = await self._read(response, sent)
            if not block:
                self._counters.add(Count.FILE_CUT_SHORT)
                self._refusals.tell(wire.remote, "a file has become shorter, or unreadable, while it was sent")
                return
            wire.send_response(block)
            sent += len(block)
            if not await self._wait_taken(wire):
                return
        await wire.finish(lingers=True)

    async def _read(self, response: FileResponse, sent: int) -> bytes:
        """The next bytes of a file; b"" where it has no more, or can't be read."""
        await trio.lowlevel.checkpoint()
        try:
            return await response.content.read(response.offset + sent, min(CHUNK_BYTES, response.length - sent))
        except OSError:
            return b""

    async def _wait_taken(self, wire: Wire) -> bool:
        """Wait until the kernel has taken a chunk. False: it has taken too long."""
        with trio.move_on_after(STALL_S):
            await wire.wait_all_written()
            return True
        self._counters.add(Count.FILE_TOO_SLOW)
        self._refusals.tell(wire.remote, f"took longer than {STALL_S:.0f} s for {CHUNK_BYTES} bytes of a file")
        return False


class _Download:
    """Owns the wire of a client that is sent a file."""

    def __init__(self, downloads: Downloads, wire: Wire) -> None:
        self._downloads = downloads
        self.wire = wire
        self.group = group_of(wire.remote[0])
        self.last_taken = trio.current_time()
        """When the kernel took bytes last (trio's clock, seconds)."""

    def note_room(self) -> None:
        """The kernel has taken some."""
        self.last_taken = trio.current_time()

    def note_failed(self) -> None:
        """No-op: it sends no messages."""

    def note_closed(self) -> None:
        """It gives its place back."""
        self._downloads.leave(self)
