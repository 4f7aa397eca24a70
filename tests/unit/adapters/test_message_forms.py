"""What a message is to a program: each form gives back what it got, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.adapters.lines import LINE_LIMIT_BYTES
from fws_pipe.adapters.message_forms import (
    BrokenOutputError,
    Message,
    MessageForm,
    Netstrings,
    NoSuchMessageError,
    RawBytes,
    TextLines,
)

messages = st.lists(st.text(max_size=30) | st.binary(max_size=30), max_size=8)
cuts = st.lists(st.integers(0, 300), max_size=6)


def echoed(form: MessageForm, sent: Sequence[Message], cuts: Sequence[int]) -> list[Message]:
    """What comes of a program that writes what it reads, in blocks that end at these places."""
    stream = b"".join(map(form.to_input, sent))
    places = sorted({cut for cut in cuts if cut < len(stream)})
    blocks = [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]
    return [message for block in blocks for message in form.from_output(block)] + form.finish()


def is_utf8(data: bytes) -> bool:
    return data.decode(errors="replace").encode() == data


def as_bytes(message: Message) -> bytes:
    return message if isinstance(message, bytes) else message.encode()


@given(messages, cuts)
def test_netstrings_keep_any_message(sent: list[Message], cuts: list[int]) -> None:
    back = echoed(Netstrings(), sent, cuts)
    assert list(map(as_bytes, back)) == list(map(as_bytes, sent))
    assert [message for message in back if isinstance(message, bytes)] == [
        message for message in sent if isinstance(message, bytes) and not is_utf8(message)
    ]
    assert echoed(Netstrings(is_binary=True), sent, cuts) == list(map(as_bytes, sent))


@given(st.lists(st.text(max_size=30), max_size=8), cuts)
def test_escaped_lines_keep_any_text(sent: list[str], cuts: list[int]) -> None:
    assert echoed(TextLines("escape"), sent, cuts) == sent


@given(messages, cuts)
def test_raw_bytes_lose_nothing_but_boundaries(sent: list[Message], cuts: list[int]) -> None:
    back = echoed(RawBytes(), sent, cuts)
    assert b"".join(map(as_bytes, back)) == b"".join(map(as_bytes, sent))
    assert all(isinstance(message, bytes) for message in back)


def test_lines() -> None:
    form = TextLines()
    assert form.to_input("a\nb") == b"a\nb\n"
    assert form.to_input(b"\xff") == b"\xff\n"
    assert form.from_output(b"a\r\n\r\nb\rc\n\xff\nla") == ["a", "", "b\rc", "\ufffd"]
    assert form.from_output(b"st\r") == []
    assert form.finish() == ["last"]
    assert "not UTF-8" in form.complaint()
    assert form.complaint() == ""


def test_a_line_over_the_limit_is_dropped_and_told() -> None:
    form = TextLines()
    assert form.from_output(b"x" * LINE_LIMIT_BYTES + b"x\nb\n") == ["b"]
    assert form.complaint() == f"dropped a line over {LINE_LIMIT_BYTES} bytes"
    assert form.complaint() == ""


def test_a_message_of_two_lines_may_be_no_message() -> None:
    form = TextLines("reject")
    assert form.to_input("one") == b"one\n"
    with pytest.raises(NoSuchMessageError, match="a single line"):
        form.to_input("one\ntwo")


@pytest.mark.parametrize("output", [b"x", b"5:hello;", b"05:hello,", b"99999999:", b"1234567890", b":,", b"-1:,"])
def test_what_is_no_netstring(output: bytes) -> None:
    with pytest.raises(BrokenOutputError, match="netstring") as broken:
        Netstrings().from_output(b"2:ok," + output)
    assert broken.value.before == ["ok"]


@pytest.mark.parametrize("output", [b"1", b"0", b"3:", b"3:ab", b"3:abc"])
def test_half_a_netstring(output: bytes) -> None:
    form = Netstrings()
    assert form.from_output(b"2:ok," + output) == ["ok"]
    with pytest.raises(BrokenOutputError, match="within a netstring"):
        form.finish()
