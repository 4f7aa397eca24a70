"""fws-test: a chain over lines of JSON, for diff."""

from __future__ import annotations

import pytest

from tests.harness import shell

EVENTS = b'{"type":"message","id":"a","data":"hello"}\n\n{"type":"message","id":"b","data":"bye","seq":9}\n'


def test_what_comes_out_is_the_same_each_time() -> None:
    done = shell("fws-test mirror", stdin=EVENTS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines() == [
        '{"data":"hello","id":"a","seq":1,"time":0.0,"type":"message"}',
        '{"data":"hello","seq":1,"to":"a","type":"send"}',
        '{"data":"bye","id":"b","seq":9,"time":0.0,"type":"message"}',
        '{"data":"bye","seq":9,"to":"b","type":"send"}',
    ]


def test_stages_get_ticks_and_their_words_come_through() -> None:
    done = shell("fws-test 'to_json | tee /dev/stderr | from_json'", stdin=EVENTS)
    assert done.stderr.count(b'"type":"tick"') == 2
    assert b"tick" not in done.stdout


@pytest.mark.parametrize(
    ("chain", "stdin", "code", "words"),
    [
        ("cat | false", EVENTS, 1, b'fws-test: stage 2 "false" exited with status 1'),
        ("cat", b"{nonsense\n", 1, b"fws-test: line 1: not JSON"),
        ("cat", b'{"data":1}\n', 1, b"line 1: a frame must have a type"),
        ("cat |", EVENTS, 2, b"fws-test: "),
        ("no_such_filter", EVENTS, 2, b"no such filter"),
    ],
)
def test_mistakes(chain: str, stdin: bytes, code: int, words: bytes) -> None:
    done = shell(f"fws-test '{chain}'", stdin=stdin)
    assert done.returncode == code
    assert words in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_chain_is_one_word() -> None:
    assert shell("fws-test").returncode == 2
    assert shell("fws-test mirror broadcast").returncode == 2


def test_more_than_pipes_hold_goes_through() -> None:
    line = b'{"type":"message","id":"a","data":"' + b"x" * 4000 + b'"}\n'
    done = shell("fws-test 'mirror | mirror'", stdin=line * 1000)
    assert done.stdout.count(b"\n") == 3000
