"""No frame overtakes another, whatever waits for an answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.adapters.pending import Pending
from fws_pipe.protocol.codec import FrameDecoder, encode
from fws_pipe.protocol.outgoing import Outgoing

frames = st.lists(st.sampled_from(["ask", "pass on", "settle", "add"]))


@given(frames)
def test_frames_stay_in_order_and_none_passes_what_is_unanswered(kinds: list[str]) -> None:
    """A frame of each kind: one that is asked about goes out when it has been answered, here as it is."""
    decoder = FrameDecoder()
    written: list[bytes] = []
    out = Outgoing(decoder, written.append)
    pending: Pending[bytes] = Pending(decoder, out)
    expected: list[bytes] = []
    asked = 0

    def settle() -> None:
        oldest = pending.oldest
        assert oldest is not None
        out.add(oldest)
        pending.settle()

    for number, kind in enumerate(kinds):
        raw = encode({"type": kind, "seq": number})
        if kind == "settle":
            if asked:
                asked -= 1
                settle()
            continue
        expected.append(raw)
        decoder.feed(raw)
        for _ in decoder.frames():
            if kind == "pass on":
                pending.pass_on()
            elif kind == "add":
                pending.add(raw)
            else:
                asked += 1
                pending.ask(raw, len(raw))
        written.append(out.pop_all())
        assert len(pending) == asked
        assert pending.size + sum(map(len, written)) == sum(map(len, expected))
    for _ in range(asked):
        settle()
    assert b"".join([*written, out.pop_all()]) == b"".join(expected)
    assert (pending.size, len(pending), pending.oldest) == (0, 0, None)
