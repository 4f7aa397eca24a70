"""A request's head is read however it is cut, and the bytes behind it are kept."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from fws_pipe.http import handshake
from fws_pipe.http.request import Request, read_request
from fws_pipe.websocket.transport import PlainTransport

LIMIT = 200
HEAD = b"GET /chat HTTP/1.1\r\nHost: here\r\n\r\n"
ANSWER = handshake.NO_ROUTE


async def read_in_task(blocks: Sequence[bytes]) -> tuple[Request | None, list[bytes], list[bytes]]:
    """What is read of a connection that sends these blocks and ends; the heads that were answered, and the tap's."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    heads: list[bytes] = []
    heard: list[bytes] = []

    def answer_to(head: bytes) -> handshake.Answer:
        heads.append(head)
        return ANSWER

    async def send() -> None:
        for block in blocks:
            theirs.sendall(block)
            await trio.testing.wait_all_tasks_blocked()
        theirs.shutdown(socket.SHUT_WR)

    with ours, theirs, trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            request = await read_request(PlainTransport(ours, ("h", 1)), LIMIT, heard.append, answer_to)
    return request, heads, heard


def read(*blocks: bytes) -> tuple[Request | None, list[bytes], list[bytes]]:
    return trio.run(read_in_task, blocks)


@pytest.mark.parametrize(
    "blocks",
    [
        [HEAD],
        [HEAD[:1], HEAD[1:]],
        [HEAD[:20], HEAD[20:-1], HEAD[-1:]],
        [HEAD.replace(b"\r\n", b"\n")],
    ],
)
def test_a_head_is_answered_however_it_is_cut(blocks: list[bytes]) -> None:
    request, heads, heard = read(*blocks)
    assert request == Request(ANSWER)
    assert heads == [b"".join(blocks)]
    assert b"".join(heard) == b"".join(blocks)


def test_bytes_behind_the_head_are_kept() -> None:
    request, heads, _ = read(HEAD + b"\x81\x80")
    assert (request, heads) == (Request(ANSWER, b"\x81\x80"), [HEAD])


@pytest.mark.parametrize("blocks", [[b"\r\n" + HEAD], [b"\r\n", b"\r\n", HEAD]])
def test_empty_lines_before_the_request_are_skipped_and_the_tap_hears_them(blocks: list[bytes]) -> None:
    request, heads, heard = read(*blocks)
    assert (request, heads) == (Request(ANSWER), [HEAD])
    assert heard == blocks


def test_a_tls_hello_is_answered_before_its_end() -> None:
    assert read(b"\x16\x03\x01")[:2] == (Request(ANSWER), [b"\x16\x03\x01"])


@pytest.mark.parametrize(
    "block", [b"GET /" + b"x" * LIMIT, HEAD[:-2] + b"A: " + b"x" * LIMIT + b"\r\n\r\n", b"\n" * 999]
)
def test_a_head_over_the_limit_is_refused(block: bytes) -> None:
    request, heads, _ = read(block)
    assert heads == []
    if block.strip():
        assert request is not None
        assert isinstance(request.answer, type(ANSWER))
        assert request.answer.status in (414, 431)


@pytest.mark.parametrize("block", [b"", HEAD[:-1]])
def test_a_client_that_leaves_has_made_no_request(block: bytes) -> None:
    assert read(block)[:2] == (None, [])
