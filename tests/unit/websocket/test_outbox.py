"""The outbox against a plain byte string, whatever the kernel takes."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.protocol.codec import pack, unpack
from fws_pipe.websocket.outbox import Outbox
from fws_pipe.websocket.rfc6455 import encode_message, end_of_frame


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=300), st.integers(1, 400)), max_size=30))
def test_what_comes_out_is_what_went_in(steps: list[bytes | int]) -> None:
    outbox = Outbox(limit=10**6)
    expected = taken = b""
    for step in steps:
        if isinstance(step, bytes):
            outbox.append(step)
            expected += step
        elif outbox:
            part = outbox.next_bytes()[:step]
            taken += part
            outbox.advance(len(part))
        assert outbox.size == len(expected) - len(taken)
    while outbox:
        part = outbox.next_bytes()
        taken += part
        outbox.advance(len(part))
    assert taken == expected


def test_large_frames_are_not_joined_and_small_ones_are() -> None:
    outbox = Outbox(limit=10**7)
    for frame in (b"a", b"b", b"c" * 10**6, b"d"):
        outbox.append(frame)
    assert bytes(outbox.next_bytes()) == b"ab" + b"c" * 10**6
    large = Outbox(limit=10**7)
    large.append(b"c" * 10**6)
    large.append(b"d")
    assert len(large.next_bytes()) == 10**6


def test_others_may_add_up_to_the_limit_whatever_the_clients_own_replies_take() -> None:
    outbox = Outbox(limit=100)
    assert outbox.fits(5000)
    outbox.append(b"x" * 60)
    outbox.append_own(b"y" * 500)
    assert outbox.fits(5000)
    outbox.append_others(b"z" * 60)
    assert outbox.fits(40)
    assert not outbox.fits(41)
    outbox.advance(570)
    assert not outbox.fits(51)
    assert outbox.fits(50)


class Entry(NamedTuple):
    """A frame that was queued."""

    frame: bytes
    is_others: bool


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["own", "others"]), st.integers(0, 300)),
            st.tuples(st.just("write"), st.integers(1, 400)),
            st.tuples(st.just("move"), st.just(0)),
        ),
        max_size=40,
    )
)
def test_how_much_is_others_is_exact(steps: list[tuple[str, int]]) -> None:
    outbox = Outbox(limit=10**6)
    stream: list[bool] = []
    for step, size in steps:
        if step == "move":
            outbox = moved(outbox)
        elif step == "write":
            count = min(size, outbox.size)
            while count:
                part = min(count, len(outbox.next_bytes()))
                outbox.advance(part)
                count -= part
            del stream[: min(size, len(stream))]
        else:
            frame = encode_message(b"x" * size)
            (outbox.append_own if step == "own" else outbox.append_others)(frame)
            stream += [step == "others"] * len(frame)
        assert outbox.size == len(stream)
        assert outbox.others == sum(stream)
        assert 0 <= outbox.weight <= outbox.size


def test_of_what_many_get_each_has_a_part_of_the_weight() -> None:
    outbox = Outbox(limit=10**6)
    outbox.append(b"x" * 1000, weight=10)
    outbox.append_others(b"y" * 1000, weight=20)
    assert outbox.weight == 30
    outbox.advance(1000)
    assert outbox.weight == 15
    outbox.append_own(b"z" * 100)
    assert outbox.weight == 115
    outbox.advance(1100)
    assert outbox.weight == 0


def test_dropping_keeps_the_rest_of_a_frame_that_has_begun() -> None:
    outbox = Outbox(limit=100)
    outbox.append(encode_message("x" * 10))
    outbox.drop_unstarted()
    assert not outbox
    outbox.append(encode_message("y" * 10) + encode_message("z" * 10))
    outbox.next_bytes()
    outbox.advance(4)
    outbox.append(encode_message("z" * 10))
    outbox.drop_unstarted()
    assert bytes(outbox.next_bytes()) == b"y" * 8
    assert outbox.size == 8


frames_of_ours = st.lists(st.integers(0, 300).map(lambda size: encode_message("x" * size)), min_size=1, max_size=4)


@given(
    st.lists(st.tuples(frames_of_ours, st.booleans()), min_size=1, max_size=8),
    st.integers(0, 500),
    st.integers(1, 500),
)
def test_room_is_made_by_whole_frames_of_others_from_the_oldest_on(
    blocks: list[tuple[list[bytes], bool]], written: int, size: int
) -> None:
    outbox = Outbox(limit=600)
    entries = [Entry(frame, is_others) for frames, is_others in blocks for frame in frames]
    for frames, is_others in blocks:
        (outbox.append_others if is_others else outbox.append_own)(b"".join(frames))
    stream = b"".join(entry.frame for entry in entries)
    out = b""
    while len(out) < min(written, len(stream)):
        part = bytes(outbox.next_bytes()[: written - len(out)])
        out += part
        outbox.advance(len(part))
    begun = next(end for end in accumulate((len(entry.frame) for entry in entries), initial=0) if end >= len(out))
    dropped = outbox.make_room(size)
    assert dropped == 0 or outbox.fits(size)
    rest = outbox.pop_all()
    # What is left of the frame that had begun, then all that is the client's own, and the newest of others'.
    assert rest[: begun - len(out)] == stream[len(out) : begun]
    ends = list(accumulate(len(entry.frame) for entry in entries))
    waiting = [entry for entry, end in zip(entries, ends, strict=True) if end > begun]
    gone = [entry for entry in waiting if entry.is_others][:dropped]
    assert len(gone) == dropped
    left = [entry for entry in waiting if not any(entry is each for each in gone)]
    assert rest[begun - len(out) :] == b"".join(entry.frame for entry in left)


def test_nothing_of_the_clients_own_is_dropped() -> None:
    outbox = Outbox(limit=1000)
    begun = encode_message("b" * 900)
    outbox.append(begun)
    outbox.advance(10)
    small = encode_message("s" * 10)
    outbox.append_own(small)
    others = encode_message("o" * 990)
    outbox.append_others(others)
    outbox.append_own(small)
    assert outbox.make_room(200) == 1
    assert outbox.make_room(2000) == 0
    assert outbox.pop_all() == begun[10:] + small + small


def moved(outbox: Outbox) -> Outbox:
    """The outbox of the server that takes over."""
    other = Outbox(outbox.limit)
    other.restore(unpack(pack(outbox.exported())))
    return other


def whole_messages(stream: bytes) -> list[bytes]:
    """The frames of a stream of binary messages."""
    frames = []
    while stream:
        end = end_of_frame(stream, 0)
        assert stream[0] == 0x82
        assert end <= len(stream)
        frames.append(stream[:end])
        stream = stream[end:]
    return frames


steps_of_an_outbox = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["append", "append others"]), st.integers(1, 300)),
        st.tuples(st.just("write"), st.integers(1, 400)),
        st.tuples(st.just("make room"), st.integers(1, 400)),
        st.tuples(st.sampled_from(["drop", "move"]), st.just(0)),
    ),
    max_size=30,
)


@given(st.integers(0, 300), steps_of_an_outbox)
def test_the_stream_stays_whole_behind_a_response(response_size: int, steps: list[tuple[str, int]]) -> None:
    outbox = Outbox(limit=600)
    response = b"HTTP/1.1 101".ljust(response_size, b"\n")[:response_size]
    outbox.begin_with(response)
    appended: list[bytes] = []
    written = b""
    uncounted = len(response)
    dropped = 0
    for step, size in steps:
        if step in ("append", "append others"):
            appended.append(encode_message(len(appended).to_bytes(2, "big") * size))
            (outbox.append if step == "append" else outbox.append_others)(appended[-1])
        elif step == "make room":
            dropped += outbox.make_room(size)
        elif step == "move":
            outbox = moved(outbox)
            uncounted = max(uncounted, len(written))  # the new one counts anew
        elif step == "drop":
            outbox.drop_unstarted()
        elif outbox:
            part = bytes(outbox.next_bytes()[:size])
            written += part
            outbox.advance(len(part))
        assert outbox.size >= 0
    assert outbox.written == len(written) - uncounted
    size = outbox.size
    rest = outbox.pop_all()
    assert len(rest) == size
    stream = written + rest
    assert stream.startswith(response)
    received = whole_messages(stream[len(response) :])
    assert received == [frame for frame in appended if frame in received]
    if all(step != "drop" for step, _ in steps):
        assert len(received) + dropped == len(appended)
