"""Whether a new server has taken over is decided once, whatever happens at the same time."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from fws_pipe.app.handing_over import is_taken
from fws_pipe.control.connection import Connection
from fws_pipe.protocol.codec import encode
from fws_pipe.protocol.takeover import RECEIVED, TAKEN

TAKEN_FRAME = encode({"type": TAKEN})


def decided(new_server: Callable[[socket.socket], Awaitable[object]]) -> bool:
    """What the old server decides while the new one does this."""

    async def main() -> bool:
        ours, theirs = socket.socketpair()
        with contextlib.closing(ours), contextlib.closing(theirs):
            ours.setblocking(False)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(new_server, theirs)
                decision = await is_taken(Connection(ours))
            if not decision:
                with pytest.raises(BrokenPipeError):  # so it can't believe that it has
                    theirs.send(TAKEN_FRAME)
            return decision

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_its_word_decides() -> None:
    async def says_so(peer: socket.socket) -> None:
        peer.send(TAKEN_FRAME)
        peer.shutdown(socket.SHUT_RDWR)  # what becomes of it afterwards is its own affair

    assert decided(says_so)


def test_one_that_never_says_so_can_not_say_so_later() -> None:
    async def is_silent(peer: socket.socket) -> None:
        await trio.sleep(3600)

    assert not decided(is_silent)


def test_one_that_says_something_else_has_not_taken_over() -> None:
    async def goes_astray(peer: socket.socket) -> None:
        peer.send(encode({"type": RECEIVED}))
        peer.shutdown(socket.SHUT_RDWR)

    assert not decided(goes_astray)


def test_one_that_dies_has_not_taken_over() -> None:
    async def dies(peer: socket.socket) -> None:
        await trio.lowlevel.checkpoint()
        peer.shutdown(socket.SHUT_RDWR)

    assert not decided(dies)


@pytest.mark.parametrize("cut", range(1, len(TAKEN_FRAME)))
def test_half_a_word_is_none(cut: int) -> None:
    async def is_cut_off(peer: socket.socket) -> None:
        peer.send(TAKEN_FRAME[:cut])
        peer.shutdown(socket.SHUT_RDWR)

    assert not decided(is_cut_off)
