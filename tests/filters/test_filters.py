"""What each shipped filter does, in a shell, with no server."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fws_pipe.protocol.codec import Frame, encode
from tests.harness import run, shell
from tests.strategies import frames

MESSAGE = {"type": "message", "seq": 7, "time": 1.0, "id": "a-1", "data": "hello"}
CONSUMER = {"type": "consumer", "seq": 8, "time": 1.0, "channel": "news", "data": b"\x00", "origin": "a"}


def filtered(command: str, *sent: Frame) -> list[Frame]:
    done = shell(f"{command} | fws-cat", stdin=b"".join(map(encode, sent)))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("command", "event", "action"),
    [
        (
            "broadcast",
            MESSAGE,
            {"type": "send", "to": "*", "except": "a-1", "everywhere": True, "data": "hello", "seq": 7},
        ),
        ("mirror", MESSAGE, {"type": "send", "to": "a-1", "data": "hello", "seq": 7}),
        ("publish", MESSAGE, {"type": "publish", "channel": "global", "data": "hello", "seq": 7}),
        ("publish my-channel", MESSAGE, {"type": "publish", "channel": "my-channel", "data": "hello", "seq": 7}),
        ("broadcast_pubsub", CONSUMER, {"type": "send", "to": "*", "data": "\x10base64:AA==", "seq": 8}),
    ],
)
def test_acts_on_its_event_and_passes_it_on(command: str, event: Frame, action: Frame) -> None:
    passed, made = filtered(command, event)
    assert passed["type"] == event["type"]
    assert made == action


@pytest.mark.parametrize(
    ("command", "event", "line"),
    [
        ("stdout_log", MESSAGE, "a-1 => hello"),
        ("stdout_log", {**MESSAGE, "data": "two\nlines\x1b[0m"}, r"a-1 => 'two\nlines\x1b[0m'"),
        ("stdout_log", {**MESSAGE, "data": "'two'"}, r"a-1 => '\'two\''"),
        ("stdout_log", {**MESSAGE, "data": "می\u200cخواهم\u3000👩\u200d👧"}, "a-1 => می\u200cخواهم\u3000👩\u200d👧"),
        (
            "stdout_log",
            {"type": "open", "id": "a-1", "path": "/\x9b2J", "remote": ["\u202eh", 5]},
            r"a-1 open /\x9b2J from \u202eh:5",
        ),
        (
            "stdout_log",
            {"type": "disconnect", "id": "\r", "code": 1001, "reason": "\u2066'\x1b"},
            r"\r disconnect 1001 '\u2066\'\x1b'",
        ),
        ("stdout_log", {"type": "open", "id": "a-1", "path": "/p", "remote": ["h", 5]}, "a-1 open /p from h:5"),
        ("stdout_log", {"type": "disconnect", "id": "a-1", "code": 1001, "reason": "bye"}, "a-1 disconnect 1001 'bye'"),
        ("stdout_pubsub", CONSUMER, r"news => b'\x00'"),
        ("stdout_pubsub", {**CONSUMER, "channel": "new\rs\x9b\u202e", "data": "\n"}, r"new\rs\x9b\u202e => '\n'"),
        ("stdout_pubsub", {**CONSUMER, "channel": None, "data": [1]}, "(queue) => [1]"),
    ],
)
def test_logs_where_there_is_no_server_to_stderr(command: str, event: Frame, line: str) -> None:
    done = shell(command, stdin=encode(event))
    assert done.stdout == encode(event)
    assert done.stderr.decode() == line + "\n"


def test_a_snapshot_is_not_logged_as_a_newcomer() -> None:
    event = {"type": "open", "id": "a-1", "path": "/", "remote": ["h", 5], "replay": True}
    assert shell("stdout_log", stdin=encode(event)).stderr == b""


def test_raw_data_is_wanted_and_shown() -> None:
    event = {"type": "data", "id": "a-1", "data": b"\x81\x00"}
    done = shell("stdout_rawdata", stdin=encode(event))
    assert done.stdout == encode({"type": "want", "events": ["data"]}) + encode(event)
    assert done.stderr.decode() == "a-1 raw b'\\x81\\x00'\n"


@pytest.mark.parametrize("arguments", ["a b", "''"])
def test_publish_with_wrong_arguments_says_what_is_right(arguments: str) -> None:
    done = shell(f"publish {arguments}")
    assert done.returncode == 1
    assert b"publish [CHANNEL]" in done.stderr


def test_the_session_of_the_readme(tmp_path: Path) -> None:
    done = shell("fws-emit message --id a --data hello | broadcast | fws-cat", cwd=tmp_path)
    event, action = map(json.loads, done.stdout.splitlines())
    assert (event["type"], event["seq"], event["id"], event["data"]) == ("message", 1, "a", "hello")
    assert action == {"type": "send", "to": "*", "except": "a", "everywhere": True, "data": "hello", "seq": 1}
    (tmp_path / "events.mp").write_bytes(encode(MESSAGE))
    done = shell("cat events.mp | broadcast | stdout_log >/dev/null", cwd=tmp_path)
    assert (done.stdout, done.stderr) == (b"", b"a-1 => hello\n")


strange_frames = st.sampled_from([{}, {"a": 1}, {"type": 5}, {"type": None}, {"type": b"open"}, {7: "x"}])
"""Those without a text type, which no filter understands, and each passes on."""


@given(st.lists(frames | strange_frames, min_size=1, max_size=100))
@settings(max_examples=5)
def test_to_json_and_from_json_change_nothing(sent: list[Frame]) -> None:
    stream = b"".join(map(encode, sent))
    assert shell("to_json | from_json", stdin=stream).stdout == stream


def test_from_json_says_which_line_is_no_frame_and_goes_on() -> None:
    done = run("from_json", stdin=b'nonsense\n\n{"type":"x"}\n"a"\n[]\n{"type":"y"}')
    assert done.stdout == encode({"type": "x"}) + encode({"type": "y"})
    assert done.returncode == 0
    assert [line.split(":")[1] for line in done.stderr.decode().splitlines()] == [" line 1", " line 4", " line 5"]


@pytest.mark.parametrize("command", ["broadcast", "to_json", "fws-sink", "fws-cat", "fws-filter json"])
@pytest.mark.parametrize(
    ("garbage", "problem"),
    [
        (b"hello", "expected a map, got text that begins with 'h'"),
        (b"\xc1", "this is not msgpack"),
        (encode(MESSAGE)[:-1], "the stream ended inside a frame"),
    ],
)
def test_broken_framing_is_one_line_and_exit_1(command: str, garbage: bytes, problem: str) -> None:
    whole = encode({"type": "tick", "seq": 1})
    done = shell(command, stdin=whole + garbage)
    assert done.returncode == 1
    [line] = done.stderr.decode().splitlines()
    assert line.startswith(f"{command.split()[0]}: broken frame from stdin, at byte {len(whole)}: {problem}")
    # What came before it has been passed on.
    assert done.stdout in (whole, b'{"type":"tick","seq":1}\n')


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")
@pytest.mark.parametrize(
    "text", ["xxxxxbase64:AAEC", "xxxxx\x10base64:AAEC", "xxxxx\x10msgpack:kA==", "xxxxxtext:text:"]
)
def test_what_jq_cuts_out_of_text_is_text(text: str) -> None:
    frame = encode({"type": "message", "seq": 1, "time": 1.5, "id": "a", "data": text})
    cut = "jq -c '{type, seq, time, id, data: .data[5:]}'"
    done = shell(f"to_json | {cut} | from_json", stdin=frame)
    assert msgpack.unpackb(done.stdout)["data"] == text[5:]


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")
def test_jq_answers_binary_with_binary_and_in_sequences() -> None:
    frame = encode({"type": "message", "seq": 1, "time": 1.5, "id": "a", "data": b"\x00\xff"})
    done = shell("""to_json | sed 's/^/\x1e/' | jq --seq -c '{type: "send", to: .id, data}' | from_json""", stdin=frame)
    assert msgpack.unpackb(done.stdout) == {"type": "send", "to": "a", "data": b"\x00\xff"}
    assert done.stderr == b""


def test_a_frame_that_json_cannot_hold_passes_as_it_passes_broadcast() -> None:
    frame = b"\x82\xa4type\xa1x\xa4deep" + b"\x91" * 700 + b"\xc0"
    for chain in ("broadcast", "to_json | from_json"):
        done = shell(chain, stdin=frame)
        assert (done.stdout, done.stderr) == (frame, b"")


def test_binary_data_may_have_a_field_of_its_own() -> None:
    """A program that takes `data` for text then misses it, and can't spoil it."""
    binary = {**MESSAGE, "data": b"\x00\xff"}
    done = shell("to_json --binary data64", stdin=encode(binary) + encode(MESSAGE))
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == {"type": "message", "seq": 7, "time": 1.0, "id": "a-1", "data64": "AP8="}
    assert second == MESSAGE
    back = shell("from_json --binary data64", stdin=done.stdout)
    assert list(msgpack.Unpacker(io.BytesIO(back.stdout))) == [binary, MESSAGE]


@pytest.mark.parametrize("value", ['"!"', "5"])
def test_what_is_no_base64_is_told_and_dropped(value: str) -> None:
    done = shell("from_json --binary data64", stdin=f'{{"type":"send","to":"*","data64":{value}}}\n'.encode())
    assert done.stdout == b""
    assert b"from_json: line 1: " in done.stderr


@pytest.mark.parametrize("arguments", ["--binary", "--binary data", "nonsense", "--binary a b"])
def test_arguments_that_make_no_sense(arguments: str) -> None:
    for name in ("to_json", "from_json"):
        done = shell(f"{name} {arguments}")
        assert done.returncode == 2
        assert done.stderr == f"{name}: expected nothing, or --binary FIELD: {name} --binary data64\n".encode()
