"""The loop calls back for descriptors, deadlines, signals and children."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fws_pipe.adapters.loop import READABLE, WRITABLE, Loop


@pytest.fixture(params=["epoll", "poll"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    if request.param == "poll":
        monkeypatch.delattr("select.epoll", raising=False)
    with Loop() as loop:
        yield loop


def nothing() -> None:
    """What is done before a wait."""


def test_a_pipe_is_watched_until_it_is_not(loop: Loop) -> None:
    read_end, write_end = os.pipe()
    seen = []

    def read() -> None:
        seen.append(os.read(read_end, 1))
        if len(seen) == 2:
            loop.unwatch(read_end)
            loop.unwatch(read_end)
            loop.watch(write_end, WRITABLE, loop.stop)

    os.write(write_end, b"abc")
    loop.watch(read_end, READABLE, read)
    loop.run(nothing)
    assert seen == [b"a", b"b"]
    os.close(read_end)
    os.close(write_end)


def test_a_file_is_always_ready(loop: Loop, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"ab")
    with (tmp_path / "file").open("rb", buffering=0) as file:
        read = []

        def take() -> None:
            read.append(file.read(1))
            if not read[-1]:
                loop.unwatch(file.fileno())
                loop.stop()

        loop.watch(file.fileno(), READABLE, take)
        loop.run(nothing)
    assert read == [b"a", b"b", b""]


def test_a_callback_that_has_gone_is_not_called(loop: Loop) -> None:
    pipes = [os.pipe(), os.pipe()]
    called = []

    def take(one: int, other: int) -> None:
        called.append(one)
        loop.unwatch(other)
        loop.stop()

    for (one, write_end), (other, _) in (pipes, pipes[::-1]):
        os.write(write_end, b"x")
        loop.watch(one, READABLE, lambda one=one, other=other: take(one, other))  # type: ignore[misc]
    loop.run(nothing)
    assert len(called) == 1
    for pipe in pipes:
        for end in pipe:
            os.close(end)


def test_deadlines_pass_in_order_unless_they_are_cancelled(loop: Loop) -> None:
    passed: list[str] = []
    loop.call_later(0.02, loop.stop)
    loop.call_later(0.01, lambda: passed.append("second"))
    loop.call_later(0, lambda: passed.append("first"))
    cancelled = loop.call_later(0.005, lambda: passed.append("never"))
    cancelled.cancel()
    cancelled.cancel()
    loop.run(nothing)
    assert passed == ["first", "second"]


def test_signals_and_children(loop: Loop) -> None:
    told: list[object] = []

    def tell(what: object) -> None:
        told.append(what)
        if len(told) == 3:
            loop.stop()

    loop.on_signal(signal.SIGTERM, lambda: tell("SIGTERM"))

    os.kill(os.getpid(), signal.SIGTERM)
    for script in ("exit 3", "kill -KILL $$", "exit 0"):
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", script], os.environ)
        loop.on_exit(pid, tell)
    loop.forget_child(pid)
    loop.run(nothing)
    assert sorted(told, key=str) == [-9, 3, "SIGTERM"]


def test_signals_do_again_what_they_did() -> None:
    before = signal.getsignal(signal.SIGCHLD), signal.getsignal(signal.SIGTERM)
    with Loop() as loop:
        loop.on_signal(signal.SIGTERM, loop.stop)
        loop.on_signal(signal.SIGTERM, loop.stop)
    assert (signal.getsignal(signal.SIGCHLD), signal.getsignal(signal.SIGTERM)) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_what_is_done_before_a_wait_may_stop_it(loop: Loop) -> None:
    loop.run(loop.stop)
