"""Messages with a header each come out as they went in, wherever the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.adapters.content_length import MessageCutter, with_header
from fws_pipe.errors import ProgramError


@given(st.lists(st.binary(max_size=30)), st.integers(1, 40))
def test_every_message_comes_once(messages: list[bytes], size: int) -> None:
    stream = b"".join(map(with_header, messages))
    cutter = MessageCutter()
    blocks = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [message for block in blocks for message in cutter.feed(block)] + cutter.finish() == messages


def test_other_fields_and_cases() -> None:
    header = b"content-type: application/vscode-jsonrpc; charset=utf-8\r\ncontent-length:2\r\n\r\n"
    assert MessageCutter().feed(header + b"{}" + header + b"[") == [b"{}"]


@pytest.mark.parametrize(
    ("stream", "problem"),
    [
        (b"hello\r\n\r\n", "expected a header with Content-Length, got bytes b'hello'"),
        (b"Content-Length: x\r\n\r\n", "expected a header with Content-Length"),
        (b"Content-Length: 99999999999\r\n\r\n", "expected a header with Content-Length"),
        (b"Content-Length: 99999999\r\n\r\n", "a message of 99999999 bytes is over the limit of 16777216"),
        (b"x" * 5000, "expected a header with Content-Length"),
    ],
)
def test_what_is_no_header(stream: bytes, problem: str) -> None:
    with pytest.raises(ProgramError, match=problem):
        MessageCutter().feed(stream)
