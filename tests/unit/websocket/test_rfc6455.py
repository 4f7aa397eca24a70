"""What a server writes, read back by a parser that isn't ours (wsproto)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

from fws_pipe.websocket.rfc6455 import CLOSE, PING_FRAME, encode_close, encode_message, encode_messages, opcode_of


def received(data: bytes) -> list[Event]:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(data)
    return list(client.events())


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 1 << 20])
def test_sizes(size: int) -> None:
    [message] = received(encode_message(b"x" * size))
    assert isinstance(message, BytesMessage)
    assert bytes(message.data) == b"x" * size
    assert message.message_finished


@given(st.text(st.characters(codec="utf-8")))
def test_text_stays_text(text: str) -> None:
    [message] = received(encode_message(text))
    assert isinstance(message, TextMessage)
    assert message.data == text


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=200) | st.binary(max_size=200)))
def test_messages_together_are_encoded_as_each_by_itself(messages: list[str | bytes]) -> None:
    assert encode_messages(messages) == [encode_message(message) for message in messages]


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_a_close_frame_is_whole_whatever_the_reason(reason: str) -> None:
    frame = encode_close(4000, reason)
    assert opcode_of(frame) == CLOSE
    [close] = received(frame)
    assert isinstance(close, CloseConnection)
    assert close.code == 4000
    assert reason.startswith(close.reason or "")


def test_ping() -> None:
    assert isinstance(received(PING_FRAME)[0], Ping)
