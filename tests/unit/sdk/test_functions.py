"""Filters as functions: what goes out for what comes in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fws_pipe.pipes.blocks import identity_of
from fws_pipe.protocol.codec import FrameDecoder, encode
from fws_pipe.protocol.outgoing import Outgoing
from fws_pipe.sdk import functions
from fws_pipe.sdk.functions import DROP, Action, Filter, TextWriter
from tests.harness import run, shell

MESSAGE = {"type": "message", "seq": 5, "id": "a", "data": "hi"}


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Filter:
    """A filter without handlers, which send() and its sisters act on."""
    made = Filter()
    monkeypatch.setattr(functions, "_filter", made)
    return made


class Piped:
    """A filter with a stream before and behind it."""

    def __init__(self, filter_: Filter) -> None:
        self._filter = filter_
        self._decoder = FrameDecoder()
        self._written: list[bytes] = []
        self._out = Outgoing(self._decoder, self._written.append)

    def feed(self, block: bytes) -> None:
        """A block has arrived. Raises what a handler raises."""
        self._decoder.feed(block)
        try:
            for event in self._decoder.frames():
                self._filter.handle(event, self._out)
        finally:
            self._written.append(self._out.pop_all())

    def finish(self) -> bytes:
        """All that has been written."""
        self._filter.finish(self._out)
        return b"".join([*self._written, self._out.pop_all()])

    def frames(self) -> list[dict[str, Any]]:
        decoder = FrameDecoder()
        decoder.feed(self.finish())
        return list(decoder.frames())


def handled(filter_: Filter, *events: dict[str, Any]) -> list[dict[str, Any]]:
    piped = Piped(filter_)
    piped.feed(b"".join(map(encode, events)))
    return piped.frames()


def test_what_has_no_handler_passes_to_the_letter(fresh: Filter) -> None:
    fresh.on("message")(lambda event: None)
    raw = b"\x81\xa4type\xd9\x04open"  # a length in a form that our encoder does not choose
    odd = encode({"type": ["odd"]})
    piped = Piped(fresh)
    piped.feed(raw + odd)
    assert piped.finish() == raw + odd


def test_plain_calls_and_yields_send_once_and_in_order(fresh: Filter) -> None:
    @fresh.on("message")
    def talk(event: dict[str, Any]) -> Iterator[Any]:
        functions.send("a", "1")
        yield functions.send("a", "2")
        first, second = functions.send("a", "3"), functions.send("a", "4")
        yield first
        yield [second, {"type": "send", "to": "a", "data": "5"}]
        yield None

    event, *sent = handled(fresh, MESSAGE)
    assert event == MESSAGE
    assert [action["data"] for action in sent] == ["1", "2", "3", "4", "5"]
    assert all(action["seq"] == 5 for action in sent)


def test_a_handler_may_return_its_actions(fresh: Filter) -> None:
    fresh.on("message")(lambda event: [{"type": "join", "id": "a", "group": "g"}, functions.leave("a", "h")])
    _, *actions = handled(fresh, MESSAGE)
    assert [action["type"] for action in actions] == ["leave", "join"]


def test_every_action(fresh: Filter) -> None:
    @fresh.on("message")
    def act(event: dict[str, Any]) -> None:
        functions.send(["a", "b"], b"\0", without="c")
        functions.send(group="g", data="x")
        functions.close("a", 4000, "bye")
        functions.join("a", "g")
        functions.leave("a", "g")
        functions.hold("a")
        functions.flush("a")
        functions.resume("a")
        functions.publish("news", "x")
        functions.enqueue({"any": ["thing"]})
        functions.emit({"type": "of mine", "x": 1})

    _, *actions = handled(fresh, MESSAGE)
    for action in actions:
        del action["seq"]
    assert actions == [
        {"type": "send", "to": ["a", "b"], "except": "c", "data": b"\0"},
        {"type": "send", "group": "g", "data": "x"},
        {"type": "close", "to": "a", "code": 4000, "reason": "bye"},
        {"type": "join", "id": "a", "group": "g"},
        {"type": "leave", "id": "a", "group": "g"},
        {"type": "hold", "id": "a"},
        {"type": "flush", "id": "a"},
        {"type": "resume", "id": "a"},
        {"type": "publish", "channel": "news", "data": "x"},
        {"type": "enqueue", "data": {"any": ["thing"]}},
        {"type": "of mine", "x": 1},
    ]


def test_a_changed_event_goes_on_changed_and_a_dropped_one_does_not(fresh: Filter) -> None:
    @fresh.on("message")
    def edit(event: dict[str, Any]) -> object:
        event["data"] = event["data"].upper()
        return DROP if event["data"] == "SPAM" else None

    sent = [MESSAGE, {**MESSAGE, "data": "spam"}]
    assert [event["data"] for event in handled(fresh, *sent)] == ["HI"]


def test_a_generator_can_drop_and_still_send(fresh: Filter) -> None:
    @fresh.on("message")
    def answer(event: dict[str, Any]) -> Iterator[Action]:
        yield functions.send("a", "not that")
        return DROP  # type: ignore[return-value]

    assert [frame["type"] for frame in handled(fresh, MESSAGE)] == ["send"]


def test_two_handlers_of_one_type_run_in_order(fresh: Filter) -> None:
    fresh.on("message")(lambda event: event.update(data=event["data"] + "1"))
    fresh.on("message", "open")(lambda event: event.update(data=event["data"] + "2"))
    assert handled(fresh, MESSAGE)[0]["data"] == "hi12"


@pytest.mark.parametrize(
    ("mistake", "problem"),
    [
        (
            lambda: functions.send("a", 5),  # type: ignore[arg-type]
            "send.data: expected a string",
        ),
        (lambda: functions.send(data="x"), "got neither"),
        (lambda: functions.close("a", 1005), "close.code: expected"),
        (lambda: functions.emit({"type": "join", "id": "a"}), "join.group: is missing"),
    ],
)
def test_a_wrong_action_raises_where_it_is_made(fresh: Filter, mistake: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        mistake()


def test_a_handler_that_yields_nonsense_is_told(fresh: Filter) -> None:
    fresh.on("message")(lambda event: iter([5]))
    with pytest.raises(TypeError, match="a handler yields or returns actions, or DROP, got 5"):
        handled(fresh, MESSAGE)


def test_after_a_failure_nothing_of_it_clings_to_the_next_event(fresh: Filter) -> None:
    @fresh.on("message")
    def fail(event: dict[str, Any]) -> None:
        functions.send("a", "x")
        if event["data"] == "hi":
            raise RuntimeError

    with pytest.raises(RuntimeError):
        handled(fresh, MESSAGE)
    assert len(handled(fresh, {**MESSAGE, "data": "again"})) == 2


def test_an_unknown_event_type_is_refused(fresh: Filter) -> None:
    with pytest.raises(ValueError, match=r"on\('massage'\): no event has this type"):
        fresh.on("massage")


def test_only_a_filter_with_a_data_handler_wants_data(fresh: Filter) -> None:
    fresh.on("message")(print)
    assert fresh._preamble() == b""
    fresh.on("data")(print)
    assert fresh._preamble() == encode({"type": "want", "events": ["data"]})


def test_print_does_not_get_between_the_frames(tmp_path: Path) -> None:
    path = tmp_path / "chatty"
    path.write_text(
        "#!/usr/bin/env fws-python\nfrom fws_pipe.sdk import on, run\n"
        "@on('message')\ndef show(event):\n    print('saw', event['data'], flush=True)\nrun()\n"
    )
    path.chmod(0o755)
    done = run(str(path), stdin=encode(MESSAGE))
    assert (done.stdout, done.stderr) == (encode(MESSAGE), b"saw hi\n")
    done = shell(f"exec 3>&1 >/dev/null; FWS_STDOUT_FD=3 {path}", stdin=encode(MESSAGE))
    assert (done.stdout, done.stderr) == (b"saw hi\n", b"")
    done = shell(f"FWS_STDOUT_FD=9 {path}", stdin=encode(MESSAGE))
    assert (done.stdout, done.stderr) == (encode(MESSAGE), b"saw hi\n")


def test_what_came_before_a_handlers_failure_has_been_written(tmp_path: Path) -> None:
    path = tmp_path / "fragile"
    path.write_text(
        "#!/usr/bin/env fws-python\nfrom fws_pipe.sdk import on, run\n"
        "@on('message')\ndef check(event):\n    assert event['data'] != 'bad'\nrun()\n"
    )
    path.chmod(0o755)
    good, bad = encode(MESSAGE), encode({**MESSAGE, "data": "bad"})
    done = run(str(path), stdin=good + bad + good)
    assert done.stdout == good
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(b"AssertionError")


def test_text_is_written_in_pieces_that_are_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(functions, "write_all", lambda descriptor, data: written.append(data))
    writer = TextWriter(1)
    for number in range(1000):
        writer.add(b"%d\n" % number)
    writer.add(b"x" * 10_000 + b"\n")
    writer.flush()
    assert b"".join(written) == b"".join(b"%d\n" % number for number in range(1000)) + b"x" * 10_000 + b"\n"
    assert all(piece.endswith(b"\n") for piece in written)
    assert max(len(piece) for piece in written[:-1]) <= 4096


def test_the_last_stage_writes_no_events_but_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FWS_SINK_PIPE", identity_of(1))
    last = Filter()
    monkeypatch.setattr(functions, "_filter", last)
    last.on("message")(lambda event: functions.send(event["id"], "x"))
    others: list[dict[str, Any]] = [
        {"type": "tick", "seq": 3},
        {"type": "close", "to": "b"},
        {"type": "of another program"},
    ]
    out = handled(last, {"type": "open", "id": "a"}, {"type": "message", "seq": 2, "id": "a", "data": "y"}, *others)
    assert out == [{"type": "send", "to": "a", "data": "x", "seq": 2}, *others]


def test_the_last_stage_joins_what_goes_to_the_same_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FWS_SINK_PIPE", identity_of(1))
    last = Filter()
    monkeypatch.setattr(functions, "_filter", last)

    @last.on("message")
    def talk(event: dict[str, Any]) -> Iterator[Any]:
        yield functions.send(event["id"], event["data"])
        if event["data"] == "leave":
            yield functions.leave(event["id"], "g")
        if event["data"] == "fail":
            raise ZeroDivisionError

    piped = Piped(last)
    for seq, data in enumerate(["1", "2", "leave", "3"]):
        piped.feed(encode({"type": "message", "seq": seq, "id": "a", "data": data}))
    piped.feed(encode({"type": "tick", "seq": 4}) + encode({"type": "message", "seq": 5, "id": "a", "data": "4"}))
    with pytest.raises(ZeroDivisionError):
        piped.feed(encode({"type": "message", "seq": 6, "id": "a", "data": "fail"}))
    assert piped.frames() == [
        {"type": "send", "to": "a", "data": ["1", "2", "leave"], "seq": [0, 1, 2]},
        {"type": "leave", "id": "a", "group": "g", "seq": 2},
        {"type": "send", "to": "a", "data": "3", "seq": 3},
        {"type": "tick", "seq": 4},
        {"type": "send", "to": "a", "data": "4", "seq": 5},
    ]


def test_a_tick_with_a_handler_and_a_handler_that_fails_overtake_and_lose_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FWS_SINK_PIPE", identity_of(1))
    last = Filter()
    monkeypatch.setattr(functions, "_filter", last)
    last.on("tick")(lambda event: None)

    @last.on("message")
    def answer(event: dict[str, Any]) -> None:
        functions.send(event["id"], event["data"])
        if event["data"] == "fail":
            functions.send("b", "half")
            raise ZeroDivisionError

    piped = Piped(last)
    for seq in (1, 2):
        piped.feed(encode({"type": "message", "seq": seq, "id": "a", "data": "x"}))
    piped.feed(encode({"type": "tick", "seq": 3}) + encode({"type": "message", "seq": 4, "id": "a", "data": "y"}))
    with pytest.raises(ZeroDivisionError):
        piped.feed(encode({"type": "message", "seq": 5, "id": "a", "data": "fail"}))
    first, tick, second = piped.frames()
    assert first == {"type": "send", "to": "a", "data": ["x", "x"], "seq": [1, 2]}
    assert tick["type"] == "tick"
    assert (second["data"], second["seq"]) in (("y", 4), (["y"], [4]))


def test_who_writes_elsewhere_than_to_the_sink_writes_all_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FWS_SINK_PIPE", identity_of(0))
    assert handled(Filter(), {"type": "open", "id": "a"}) == [{"type": "open", "id": "a"}]
