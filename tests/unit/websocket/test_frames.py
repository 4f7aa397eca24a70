"""The fast path's parts: the events that it writes are those of the codec, and frames are what RFC 6455 says."""

from __future__ import annotations

import os
import struct

import pytest
import wsproto.frame_protocol
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.protocol.codec import FrameDecoder, encode
from fws_pipe.protocol.events import message_event, stamp
from fws_pipe.websocket import frames
from fws_pipe.websocket.frames import (
    PONGS_AT_ONCE,
    Kind,
    close_from,
    event_tail,
    event_time,
    head_at,
    mask_in_python,
    payload_of,
    skip_controls,
    take_messages,
)

LIMIT = 100_000
FINAL = 0x80

payloads = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40),
    st.sampled_from([0, 31, 32, 125, 126, 255, 256, 65535, 65536]).map(lambda size: "x" * size),
    st.sampled_from([0, 31, 32, 125, 126, 255, 256, 65535, 65536]).map(bytes),
)
keys = st.sampled_from([bytes(4), b"\x01\x02\x03\x04", b"\xff\x00\x80\x7f"])


def client_frame(first: int, payload: bytes, key: bytes = b"\x01\x02\x03\x04") -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0x80 | 126)) + struct.pack("!H", size)
    else:
        head = bytes((first, 0x80 | 127)) + struct.pack("!Q", size)
    return head + key + mask_in_python(payload, key)


def message_frame(data: str | bytes) -> bytes:
    return client_frame(FINAL | 1, data.encode()) if isinstance(data, str) else client_frame(FINAL | 2, data)


def take(
    block: bytes, position: int = 0, seq: int = 0, budget: int = 1 << 40, limit: int = LIMIT, count: int = 1 << 40
) -> frames.Run:
    return take_messages(block, position, limit, budget, count, event_time(1.5) + event_tail("a-1"), seq)


@given(st.lists(payloads, max_size=6), st.integers(0, 1 << 40))
def test_the_events_are_those_of_the_codec(messages: list[str | bytes], seq: int) -> None:
    block = b"".join(map(message_frame, messages))
    run = take(block, seq=seq)
    expected = [stamp(message_event("a-1", data), seq + 1 + index, 1.5) for index, data in enumerate(messages)]
    decoder = FrameDecoder()
    decoder.feed(b"".join(run.events))
    assert [event for event, _ in decoder] == expected
    assert list(expected[0]) == ["type", "seq", "time", "id", "data"] if expected else True
    assert (run.position, run.seq) == (len(block), seq + len(messages))
    if seq + len(block) > 0xFFFFFFFF:
        assert run.events == [encode(event) for event in expected] or seq < 1 << 32


@given(st.lists(payloads, min_size=1, max_size=4), st.data())
def test_a_frame_that_is_cut_anywhere_is_left_whole(messages: list[str | bytes], data: st.DataObject) -> None:
    ends = [0]
    for message in messages:
        ends.append(ends[-1] + len(message_frame(message)))
    block = b"".join(map(message_frame, messages))
    cut = data.draw(st.integers(0, len(block)))
    run = take(block[:cut])
    assert run.position == max(end for end in ends if end <= cut)
    assert head_at(block[:cut], run.position).kind is Kind.NEED_MORE


pieces = st.one_of(
    st.binary(max_size=20),
    payloads.map(message_frame),
    st.builds(client_frame, st.integers(0, 255), st.binary(max_size=130)),
    st.builds(
        lambda first, length, rest: bytes((first, 0xFF)) + struct.pack("!Q", length) + rest,
        st.integers(0, 255), st.integers(0, (1 << 64) - 1), st.binary(max_size=8),
    ),
)  # fmt: skip


@given(st.lists(pieces, max_size=5).map(b"".join), st.integers(0, 200))
def test_any_bytes_are_told_apart(block: bytes, limit: int) -> None:
    """What is taken is what the head calls whole messages within the limit, one event each; where that stops, the
    head says why; and of every whole frame it says where it ends: behind its header, inside the block.
    """
    run = take(block, limit=limit)
    position = count = 0
    while position < run.position:
        head = head_at(block, position)
        assert head.kind is Kind.MESSAGE
        assert head.size <= limit
        position = head.end
        count += 1
    assert (position, count, count) == (run.position, len(run.events), run.seq)
    head = head_at(block, position)
    if head.kind is Kind.MESSAGE:
        payload = payload_of(block, head)
        assert head.size > limit or (block[position] & 0x0F == 1 and not frames.is_utf8(payload))
    if head.kind is Kind.NEED_MORE:
        assert head.end == 0 or head.end > len(block)
    elif head.kind is not Kind.BROKEN:
        assert position + 6 <= head.start <= head.end <= len(block)


@pytest.mark.parametrize(
    "block",
    [
        client_frame(FINAL | 1, b"\xff"),
        client_frame(FINAL | 1, b"\xed\xa0\x80"),
        client_frame(1, b"fragment"),
        client_frame(FINAL | 0, b"rest"),
        client_frame(FINAL | 8, b"\x03\xe8"),
        client_frame(FINAL | 9, b"ping"),
        client_frame(FINAL | 0x40 | 1, b"reserved"),
        client_frame(FINAL | 3, b"opcode"),
        bytes((FINAL | 1, 5)) + b"hello",
        bytes((FINAL | 1, 0x80 | 126)) + struct.pack("!H", 125) + bytes(4 + 125),
        bytes((FINAL | 2, 0x80 | 127)) + struct.pack("!Q", 65535) + bytes(4 + 65535),
        bytes((FINAL | 2, 0x80 | 127)) + struct.pack("!Q", 1 << 63) + bytes(4),
        client_frame(FINAL | 2, bytes(LIMIT + 1)),
    ],
)
def test_what_is_not_plainly_valid_is_not_taken(block: bytes) -> None:
    assert take(block + message_frame("next")) == frames.Run([], 0, 0)


def test_no_more_is_taken_than_the_budget_allows() -> None:
    block = message_frame("12345") * 3
    assert len(take(block, budget=14).events) == 2
    assert len(take(block, budget=15).events) == 3
    assert len(take(block, budget=-1).events) == 0


def test_no_more_are_taken_than_the_count_allows() -> None:
    block = message_frame("") * 3
    assert [len(take(block, count=count).events) for count in (-1, 0, 2, 3, 9)] == [0, 0, 2, 3, 3]


control_frames = st.builds(client_frame, st.sampled_from([FINAL | 9, FINAL | 10]), st.binary(max_size=125), keys)


@given(st.lists(control_frames, max_size=8), st.binary(max_size=9), st.integers(0, 9))
def test_controls_are_skipped_as_they_are_judged_and_the_last_ping_is_told(
    controls: list[bytes], behind: bytes, count: int
) -> None:
    block = b"".join(controls) + behind
    position = 0
    expected: list[bytes] = []
    for _ in range(count):
        head = head_at(block, position)
        if head.kind not in (Kind.PING, Kind.PONG):
            break
        expected += [payload_of(block, head)] if head.kind is Kind.PING else []
        position = head.end
    assert skip_controls(block, 0, count) == (position, len(expected), expected)


def test_of_many_pings_the_last_one_is_to_be_answered() -> None:
    block = b"".join(client_frame(FINAL | 9, b"%d" % number) for number in range(PONGS_AT_ONCE + 1))
    assert skip_controls(block, 0, 100) == (len(block), PONGS_AT_ONCE + 1, [b"%d" % PONGS_AT_ONCE])


@given(st.binary(max_size=6) | st.integers(0, 6000).map(lambda code: code.to_bytes(2, "big") + b"bye"))
def test_a_close_is_taken_as_trio_websocket_would_or_left_to_it(payload: bytes) -> None:
    parser = wsproto.frame_protocol.FrameProtocol(client=False, extensions=[])
    parser.receive_bytes(client_frame(FINAL | 8, payload))
    taken = close_from(payload)
    try:
        [close] = parser.received_frames()
    except wsproto.frame_protocol.ParseFailed:
        assert taken is None
    else:
        assert taken in (None, close.payload)
        assert taken is not None or int(close.payload[0]) > 1013


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        (client_frame(FINAL | 1, b"\xff"), Kind.MESSAGE),
        (client_frame(2, b"x"), Kind.FRAGMENT),
        (client_frame(0, b"x"), Kind.FRAGMENT),
        (client_frame(FINAL, b"x"), Kind.LAST_FRAGMENT),
        (client_frame(FINAL | 8, b""), Kind.CLOSE),
        (client_frame(FINAL | 9, b"x" * 125), Kind.PING),
        (client_frame(FINAL | 10, b""), Kind.PONG),
        (client_frame(FINAL | 9, b"x" * 126), Kind.BROKEN),
        (client_frame(9, b"x"), Kind.BROKEN),
        (client_frame(FINAL | 0x10 | 1, b"x"), Kind.BROKEN),
        (client_frame(FINAL | 11, b"x"), Kind.BROKEN),
        (bytes((FINAL | 1, 1)), Kind.BROKEN),
        (b"\x81", Kind.NEED_MORE),
        (b"", Kind.NEED_MORE),
    ],
)
def test_heads(block: bytes, kind: Kind) -> None:
    head = head_at(b"before" + block + b"behind" if kind is not Kind.NEED_MORE else b"before" + block, 6)
    assert head.kind is kind
    if kind not in (Kind.BROKEN, Kind.NEED_MORE):
        assert head.end == 6 + len(block)


def test_a_huge_frame_is_known_by_its_header() -> None:
    head = head_at(bytes((FINAL | 2, 0x80 | 127)) + struct.pack("!Q", 1 << 30) + bytes(4), 0)
    assert (head.kind, head.size) == (Kind.NEED_MORE, 1 << 30)


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_both_masks_are_the_same_and_their_own_inverse(data: bytes, key: bytes) -> None:
    masked = bytes(byte ^ key[index % 4] for index, byte in enumerate(data))
    assert mask_in_python(data, key) == frames.mask(data, key) == masked
    assert mask_in_python(masked, key) == data


def test_a_payload_is_unmasked() -> None:
    block = client_frame(FINAL | 9, b"ping", os.urandom(4))
    assert payload_of(block, head_at(block, 0)) == b"ping"
