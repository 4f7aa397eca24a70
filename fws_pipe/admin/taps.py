"""Taps for the live page: what passes a joint of the chain is streamed as lines of JSON, as long as the page reads it.

A line holds a `frame`, or `large` and `bytes` for a frame that is too large to be shown; or `skipped`, how many frames
were not shown in the last second; or `ended`, why the tap has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from fws_pipe.admin.connection import Connection, PeerError, Stream
from fws_pipe.admin.shown_frames import ShownFrames, line_of, shown
from fws_pipe.chain.spawn import wait_for_any
from fws_pipe.control.joints import Joints, UnknownJointError
from fws_pipe.control.stage_taps import TapRefusedError
from fws_pipe.control.tap import Tap
from fws_pipe.errors import FrameError
from fws_pipe.protocol.codec import FrameDecoder

MOST_TAPS = 4
"""How many taps there may be at a time: each costs the front the decoding of all that passes it."""

_SLICE = 256
"""How many frames are looked at before others have a turn."""

_SECOND = 1.0


class TooManyTapsError(Exception):
    """MOST_TAPS are open."""


class Taps:
    """The taps of the live page. `stopping` returns when the server begins to drain, which ends them."""

    def __init__(self, joints: Joints, stopping: Callable[[], Awaitable[object]]) -> None:
        self.joints = joints
        self._stopping = stopping
        self._open = 0

    def stream(self, stage: str, kind: str, client: str) -> Stream:
        """What passes behind a stage, of this type and client (empty: all).

        Raises UnknownJointError, and TooManyTapsError.
        """
        self.joints.check(stage)
        if self._open >= MOST_TAPS:
            raise TooManyTapsError
        return Stream("application/x-ndjson", partial(self._run, stage, ShownFrames(kind, client)))

    async def _run(self, stage: str, frames: ShownFrames, connection: Connection) -> None:
        """Write what passes until there is a reason to end."""
        if self._open >= MOST_TAPS:
            return connection.end_stream(line_of(ended=f"{MOST_TAPS} taps are open"))
        self._open += 1
        try:
            async with self.joints.tapped(stage) as (tap, ends):
                copy = partial(_copy, tap, frames, connection)
                await wait_for_any(connection.wait_gone, tap.cut_off.wait, self._stopping, copy, *ends)
                is_slow = tap.cut_off.is_set()
                why = "it was read too slowly" if is_slow else "the server drains, or the chain has changed"
                connection.end_stream(line_of(ended=why))
        except (UnknownJointError, TapRefusedError) as error:
            connection.end_stream(line_of(ended=str(error)))
        finally:
            self._open -= 1


async def _copy(tap: Tap, frames: ShownFrames, connection: Connection) -> None:
    """Write what passes, until the peer is gone or something that is no frame has passed."""
    try:
        await _write_frames(tap, frames, connection)
    except FrameError as error:
        connection.end_stream(line_of(ended=str(error)))
    except PeerError:
        pass


async def _write_frames(tap: Tap, frames: ShownFrames, connection: Connection) -> None:
    """Write what passes, for ever. Raises PeerError, and FrameError."""
    decoder = FrameDecoder("the chain")
    second = trio.current_time() + _SECOND
    while True:
        with trio.move_on_at(second):
            decoder.feed(await tap.take())
        lines = await _lines_of(decoder, frames)
        if trio.current_time() >= second:
            second = trio.current_time() + _SECOND
            lines.append(frames.begin_second())
        await connection.write_piece(b"".join(lines))


async def _lines_of(decoder: FrameDecoder, frames: ShownFrames) -> list[bytes]:
    lines = []
    for number, frame in enumerate(decoder.frames(), 1):
        if frames.fits(frame) and frames.may_show():
            lines.append(shown(frame, decoder.raw()))
        if number % _SLICE == 0:
            await trio.lowlevel.checkpoint()
    return lines
