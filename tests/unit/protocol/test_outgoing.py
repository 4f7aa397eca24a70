"""fws_pipe.protocol.outgoing: what passes and what is new come out in order, to the letter."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.protocol.codec import Frame, FrameDecoder, encode
from fws_pipe.protocol.outgoing import Outgoing

FATES = st.sampled_from(["passes", "is dropped", "is changed", "passes with more behind"])


@given(st.data(), st.lists(st.tuples(FATES, st.integers(0, 5)), max_size=150))
def test_what_comes_out_is_what_each_frame_has_become(data: st.DataObject, fates: list[tuple[str, int]]) -> None:
    frames: list[Frame] = [{"type": "x", "seq": number, "data": "y" * size} for number, (_, size) in enumerate(fates)]
    stream = b"".join(map(encode, frames))
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6))), len(stream)]
    decoder = FrameDecoder()
    written: list[bytes] = []
    out = Outgoing(decoder, written.append)
    expected = []
    for start, end in pairwise(cuts):
        decoder.feed(stream[start:end])
        for frame in decoder.frames():
            fate, _ = fates[frame["seq"]]
            new = encode({"new": frame["seq"]})
            if fate.startswith("passes"):
                out.pass_on()
                expected.append(encode(frame))
            if fate == "is changed":
                out.add(new)
                expected.append(new)
            if fate == "passes with more behind":
                out.add_all([{"new": frame["seq"]}, {"new": frame["seq"]}])
                expected += [new, new]
        written.append(out.pop_all())
    assert b"".join(written) == b"".join(expected)


def test_a_block_that_passes_whole_is_not_copied() -> None:
    decoder = FrameDecoder()
    out = Outgoing(decoder, list)
    block = encode({"type": "x"}) * 100
    decoder.feed(block)
    for _ in decoder.frames():
        out.pass_on()
    assert out.pop_all() is block


def test_many_pieces_are_spilled() -> None:
    spilled: list[bytes] = []
    out = Outgoing(FrameDecoder(), spilled.append)
    for _ in range(1000):
        out.add(b"x")
    rest = out.pop_all()
    assert b"".join([*spilled, rest]) == b"x" * 1000
    assert len(rest) < 100
