"""Any request gets an answer that ends, and none of them is an error of the server."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from fws_pipe.admission.entrance import Entrance, EntranceSettings
from fws_pipe.chain.successor import decided
from fws_pipe.control.connection import Connection
from fws_pipe.control.joints import Joints
from fws_pipe.control.requests import Controls, Requests
from fws_pipe.front.front import Front
from fws_pipe.log import Log
from fws_pipe.protocol.codec import Frame, FrameDecoder, encode
from fws_pipe.protocol.control import refused
from tests.unit.front.test_front import LIMITS, LINK_LIMITS, open_route

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
requests = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["send", "close", "clients", "stages", "status", "reload", "drain", "tap", "copy", "takeover"]
        )
        | values
    },
    optional={
        name: st.sampled_from(["*", "front", "x", 1000]) | values
        for name in ("to", "group", "except", "data", "code", "reason", "stage", "key", "seq", "everywhere", "over")
    },
)


@settings(max_examples=30)
@given(st.lists(requests, max_size=5))
def test_any_request_gets_an_answer(asked: Sequence[dict[str, Any]]) -> None:
    answers = trio.run(answers_to, asked)
    assert len([frame for frame in answers if frame["type"] in ("done", "refused")]) == count_of_answers(asked)


def count_of_answers(asked: Sequence[dict[str, Any]]) -> int:
    """A copy for no tap ends the connection at once, a tap after its answer."""
    count = 0
    for request in asked:
        if request["type"] == "copy":
            break
        count += 1
        if request["type"] == "tap" and request.get("stage") in (None, "front", "sink"):
            break
    return count


async def refuse(request: Frame, connection: Connection) -> None:
    """What a server answers that can't hand over."""
    await connection.answer(refused(5, "not now"))


async def answers_to(asked: Sequence[dict[str, Any]]) -> list[Frame]:
    """What a peer gets that asks all this, and then ends the connection."""
    log = Log("test", descriptor=os.open(os.devnull, os.O_WRONLY))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    async with trio.open_nursery() as nursery:
        front = Front(LIMITS, LINK_LIMITS, log, "test", Entrance(EntranceSettings()), nursery)
        open_route(front)
        joints = Joints(front, list, None)
        answering = Requests(Controls(front, list, (), joints, list, decided, lambda over: True, refuse))
        connection = Connection(ours)
        theirs.sendall(b"".join(map(encode, asked)))
        theirs.shutdown(socket.SHUT_WR)
        with trio.fail_after(30):
            while (request := await connection.next_request()) is not None:
                await answering.answer(request, connection)
        connection.close()
        nursery.cancel_scope.cancel()
    log.close()
    decoder = FrameDecoder()
    with theirs:
        while block := theirs.recv(65536):
            decoder.feed(block)
    return list(decoder.frames())
