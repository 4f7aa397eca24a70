"""An event with a wrong field, which a stage before has written, is named and passes on; no filter dies of it."""

from __future__ import annotations

import pytest

from fws_pipe.protocol.codec import Frame, FrameDecoder, encode
from tests.harness import shell
from tests.strategies import ODD_FIELDS, sound_event, wrong_values

ODD: list[tuple[str, Frame]] = [
    (f"{kind}.{name}", {**sound_event(kind), name: value})
    for kind, name in ODD_FIELDS
    for value in wrong_values(kind, name)
]
"""An event for each value that a field can't have, with the field's full name."""

GOOD: Frame = {"type": "news", "id": 5}

HANDLED: dict[str, set[str]] = {
    "map cat": {"message"},
    "lines cat": {"open", "message", "disconnect", "consumer"},
    "jsonrpc cat": {"open", "message", "disconnect"},
    "json cat": set(),
    "per_client cat": {"open", "message", "disconnect", "flushed"},
    "broadcast": {"message"},
    "broadcast_by_token": {"open", "message", "disconnect"},
    "broadcast_pubsub": {"consumer"},
    "mirror": {"message"},
    "publish": {"message"},
    "stdout_log": {"open", "message", "disconnect"},
    "stdout_rawdata": {"data"},
    "stdout_pubsub": {"consumer"},
}
"""Each shipped filter that reads events, and the types whose faults it names."""


@pytest.mark.parametrize("command", HANDLED)
def test_odd_events_are_named_and_pass_on(command: str) -> None:
    sent = [*(event for _, event in ODD), GOOD]
    done = shell(command, stdin=b"".join(map(encode, sent)))
    assert done.returncode == 0, done.stderr
    said = done.stderr.decode().splitlines()
    assert "Traceback" not in done.stderr.decode()
    named = [line for line in said if "such events pass on unhandled" in line]
    expected = {field for field, _ in ODD if field.split(".")[0] in HANDLED[command]}
    assert sorted(line.split(": ")[1] for line in named) == sorted(expected), said
    decoder = FrameDecoder()
    decoder.feed(done.stdout)
    assert [frame for frame in decoder.frames() if frame["type"] not in ("send", "want", "publish")] == sent
