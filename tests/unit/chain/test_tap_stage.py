"""A tap as a stage: it passes on everything, whatever becomes of the copy."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fws_pipe.chain.tap_stage import BEHIND_BYTES, KEY_VARIABLE, PATH_VARIABLE
from fws_pipe.protocol.codec import FrameDecoder, encode
from tests.harness import PATIENCE_S

FRAMES = [encode({"type": "message", "id": "a", "data": "x" * size}) for size in (0, 10, 300_000, 5)]


def run_stage(path: Path, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, PATH_VARIABLE: str(path), KEY_VARIABLE: "key"}
    return subprocess.run(
        [sys.executable, "-m", "fws_pipe.chain.tap_stage"],
        input=stdin, capture_output=True, check=False, timeout=PATIENCE_S, env=environment,
    )  # fmt: skip


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.chdir(tmp_path)  # a socket's path has 107 bytes
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.bind("tap")
        made.listen()
        yield made


def test_the_copy_has_every_frame(listener: socket.socket) -> None:
    stream = b"".join(FRAMES)
    copied: list[bytes] = []

    def read_copy() -> None:
        peer, _ = listener.accept()
        with peer:
            while block := peer.recv(65536):
                copied.append(block)

    reader = threading.Thread(target=read_copy)
    reader.start()
    before = time.monotonic()
    done = run_stage(Path("tap"), stream)
    reader.join(PATIENCE_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, stream, b"")
    decoder = FrameDecoder()
    decoder.feed(b"".join(copied))
    copies = [frame for frame, _ in decoder]
    assert {(copy["type"], copy["key"]) for copy in copies} == {("copy", "key")}
    assert b"".join(copy["data"] for copy in copies) == stream
    times = [before, *(copy["time"] for copy in copies), time.monotonic()]
    assert times == sorted(times)


def test_nothing_waits_for_a_listener_that_does_not_read(listener: socket.socket) -> None:
    stream = FRAMES[2] * (4 * BEHIND_BYTES // len(FRAMES[2]))
    done = run_stage(Path("tap"), stream)
    assert (done.returncode, done.stdout) == (0, stream)


def test_nothing_waits_for_a_listener_that_is_not_there(tmp_path: Path) -> None:
    done = run_stage(tmp_path / "nosuch", FRAMES[1])
    assert (done.returncode, done.stdout, done.stderr) == (0, FRAMES[1], b"")


def test_what_is_not_frames_is_told(tmp_path: Path) -> None:
    done = run_stage(tmp_path / "nosuch", b"hello")
    assert done.returncode == 1
    assert b"broken frame" in done.stderr
