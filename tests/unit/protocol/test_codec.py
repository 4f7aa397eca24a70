"""The codec: every case whole, byte by byte and with trailing bytes; every breakage with its place."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.errors import FrameError
from fws_pipe.protocol.codec import Frame, FrameDecoder, decode_frame, encode
from tests.strategies import frames


def decode(*blocks: bytes) -> list[tuple[Frame, bytes]]:
    decoder = FrameDecoder("stage 1")
    found = []
    for block in blocks:
        decoder.feed(block)
        found += list(decoder)
    decoder.finish()
    return found


@given(st.lists(frames, max_size=5))
def test_whole(sent: list[Frame]) -> None:
    raw = [encode(frame) for frame in sent]
    assert decode(b"".join(raw)) == list(zip(sent, raw, strict=True))


@given(frames)
def test_one_frame_of_our_own_is_decoded_as_by_a_decoder(sent: Frame) -> None:
    assert decode_frame(encode(sent)) == sent


@given(st.lists(frames, max_size=3))
def test_byte_by_byte(sent: list[Frame]) -> None:
    stream = b"".join(map(encode, sent))
    assert [frame for frame, _ in decode(*(stream[i : i + 1] for i in range(len(stream))))] == sent


@given(st.lists(frames, min_size=1, max_size=5), st.data())
def test_cut_anywhere_the_bytes_come_out_as_they_went_in(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    blocks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert b"".join(raw for _, raw in decode(*blocks)) == stream


@given(frames, st.data())
def test_trailing_bytes_wait_and_are_told_at_the_end(frame: Frame, data: st.DataObject) -> None:
    raw = encode(frame)
    count = data.draw(st.integers(1, len(raw) - 1))
    decoder = FrameDecoder("stage 1")
    decoder.feed(raw + raw[:count])
    assert [found for found, _ in decoder] == [frame]
    with pytest.raises(FrameError, match=f"at byte {len(raw)}: the stream ended inside a frame, after {count} bytes"):
        decoder.finish()


def outcome(blocks: list[bytes]) -> tuple[list[tuple[Frame, bytes]], str | None]:
    """The frames of a stream that may be anything, and what is wrong with it."""
    decoder = FrameDecoder("stage 1", limit=500)
    found: list[tuple[Frame, bytes]] = []
    try:
        for block in blocks:
            decoder.feed(block)
            found += decoder
        decoder.finish()
    except FrameError as error:
        assert error.offset == sum(len(raw) for _, raw in found)
        return found, str(error)
    return found, None


mutations = st.tuples(st.integers(0, 1 << 16), st.binary(max_size=3), st.integers(0, 3))


@given(st.lists(frames, max_size=4), st.lists(mutations, max_size=3), st.data())
def test_any_bytes_are_frames_or_a_frame_error_however_they_are_cut(
    sent: list[Frame], changes: list[tuple[int, bytes, int]], data: st.DataObject
) -> None:
    """Nothing but FrameError is raised, at the byte where the last whole frame ends; the frames before it are bytes of
    the stream; and no cut changes any of that.
    """
    stream = b"".join(map(encode, sent))
    for place, inserted, removed in changes:
        at = place % (len(stream) + 1)
        stream = stream[:at] + inserted + stream[at + removed :]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    blocks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole, problem = outcome([stream])
    in_pieces, same_problem = outcome(blocks)
    assert stream.startswith(b"".join(raw for _, raw in whole))
    assert [raw for _, raw in in_pieces] == [raw for _, raw in whole]
    assert same_problem == problem


@pytest.mark.parametrize(
    ("garbage", "problem"),
    [
        (b"\xc1", "this is not msgpack"),
        (b"\x81\xa1a\xc1", "this is not msgpack"),
        (b"\x07", "expected a map, got int 7"),
        (b"hello", "expected a map, got text that begins with 'h'"),
        (b"\nx", r"expected a map, got text that begins with '.n'"),
        (b"\x93\x01\x02\x03", r"expected a map, got list \[1, 2, 3\]"),
        (b"\x81\x90\x01", "this is not msgpack"),  # a list as a key
        (b"\x91" * 5000, "this is not msgpack"),  # nested too deeply
    ],
)
def test_broken_framing_names_who_and_where(garbage: bytes, problem: str) -> None:
    good = encode({"type": "message"})
    decoder = FrameDecoder('stage 2 "head"')
    decoder.feed(good + garbage)
    found = iter(decoder)
    assert next(found)[0] == {"type": "message"}
    with pytest.raises(FrameError, match=f'from stage 2 "head", at byte {len(good)}: {problem}'):
        next(found)


@pytest.mark.parametrize("in_blocks_of", [1 << 20, 100])
def test_a_frame_over_the_limit_is_refused_before_it_is_whole(in_blocks_of: int) -> None:
    decoder = FrameDecoder("stage 1", limit=1000)
    start = encode({"type": "message", "data": b"x" * 5000})[:3000]
    with pytest.raises(FrameError, match=r"over the limit of 1000 bytes|exceeds max_bin_len"):
        for i in range(0, len(start), in_blocks_of):
            decoder.feed(start[i : i + in_blocks_of])
            list(decoder)


def test_many_frames_that_are_together_over_the_limit_pass() -> None:
    decoder = FrameDecoder("stage 1", limit=100)
    decoder.feed(encode({"type": "message", "data": b"x" * 50}) * 100)
    assert len(list(decoder)) == 100


def test_a_consumer_that_stops_half_way_gets_the_rest_next_time() -> None:
    decoder = FrameDecoder()
    decoder.feed(b"".join(encode({"type": str(i)}) for i in range(4)))
    assert next(iter(decoder))[0] == {"type": "0"}
    assert [frame["type"] for frame, _ in decoder] == ["1", "2", "3"]
    decoder.finish()


def test_text_that_is_no_utf8_passes_to_the_letter() -> None:
    raw = b"\x82\xa4type\xa1x\xa4text\xa2\xff\xfe"
    [(frame, passed)] = decode(raw)
    assert passed == raw
    assert encode(frame) == raw


def test_extension_types_and_numbers_as_keys_pass_to_the_letter() -> None:
    raw = msgpack.packb({"type": "x", 5: msgpack.ExtType(7, b"abc"), "at": msgpack.Timestamp(1, 2)})
    assert decode(raw)[0][1] == raw
