"""fws-replay: a recording, to a chain or to a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fws_pipe.cli.fws_replay import first_difference, paced
from fws_pipe.cli.replay_clients import play_to_server
from fws_pipe.errors import UsageError
from fws_pipe.protocol.codec import Frame, encode
from tests.harness import Servers, shell

OPEN = {"type": "open", "seq": 1, "time": 10.0, "id": "old-1", "path": "/", "query": "", "headers": []}
HELLO = {"type": "message", "seq": 2, "time": 10.1, "id": "old-1", "data": "hello"}
BYTES = {"type": "message", "seq": 3, "time": 10.2, "id": "old-1", "data": b"\x00"}
TICK = {"type": "tick", "seq": 3, "time": 10.2}
RECORDING: tuple[Frame, ...] = (OPEN, HELLO, TICK, BYTES, TICK)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "events.mp"
    path.write_bytes(b"".join(map(encode, RECORDING)))
    return path


def test_a_chain_gets_every_frame(recording: Path) -> None:
    done = shell(f"fws-replay {recording} mirror | fws-cat --type send")
    assert [json.loads(line)["data"] for line in done.stdout.splitlines()] == ["hello", "\x10base64:AA=="]


def test_lines_of_json_will_do(recording: Path) -> None:
    same = shell(f"fws-cat {recording} | fws-replay - cat | cmp - {recording}")
    assert same.returncode == 0, same.stderr


def test_expect_compares_without_ticks_and_times(recording: Path, tmp_path: Path) -> None:
    expected = tmp_path / "expected.jsonl"
    expected.write_bytes(shell(f"fws-replay {recording} mirror | fws-cat --no-ticks").stdout)
    done = shell(f"fws-replay --expect {expected} {recording} mirror")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    done = shell(f"fws-replay --expect {expected} {recording} cat")
    assert done.returncode == 1
    assert done.stderr.startswith(b'fws-replay: frame 3: expected {"type":"send"')


def test_a_server_gets_a_client_for_each_open(recording: Path, servers: Servers) -> None:
    server = servers.start("mirror")
    done = shell(f"fws-replay {recording} {server.url} | fws-cat")
    made = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(frame["to"], frame["data"]) for frame in made] == [("old-1", "hello"), ("old-1", "\x10base64:AA==")]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("/no/such/file cat", 5, b"fws-replay: can't read /no/such/file: No such file"),
        ("{} no_such_filter", 2, b"no such filter"),
        ("{} false", 1, b'fws-replay: stage 1 "false" exited with status 1'),
        ("--speed 0 {} cat", 2, b"expected a factor above 0"),
        ("{} ws://127.0.0.1:1/", 5, b"fws-replay: can't connect to ws://127.0.0.1:1/"),
    ],
)
def test_mistakes(arguments: str, code: int, words: bytes, recording: Path) -> None:
    done = shell(f"fws-replay {arguments.format(recording)}")
    assert done.returncode == code
    assert words in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["ws://", "ws://[", "ws://:9000/", "ws://localhost:ten/", "ws://localhost:65536/"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="expected the URL of a server"):
        play_to_server([], url, None)


def test_a_file_that_is_neither(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("hello")
    done = shell(f"fws-replay {path} cat")
    assert done.returncode == 1
    assert b"expected a map" in done.stderr


def test_differences() -> None:
    assert first_difference([OPEN, TICK, HELLO], [{**OPEN, "time": 0.0}, HELLO, TICK]) is None
    assert first_difference([OPEN], [OPEN, HELLO]) == (
        'frame 2: expected {"type":"message","seq":2,"id":"old-1","data":"hello"}, got no more'
    )


def test_the_pace_is_that_of_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    times = [(frame["seq"], round(now[0], 6)) for frame in paced(iter(RECORDING), 2.0)]
    assert times == [(1, 100.0), (2, 100.05), (3, 100.1), (3, 100.1), (3, 100.1)]
    now[0] = 100.0
    assert [now[0] for _ in paced(iter(RECORDING), None)] == [100.0] * 5
