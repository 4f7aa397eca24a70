"""What passes the joints, in any order between them, becomes one record for each event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.cli.trace_events import PENDING_LIMIT, Join, as_columns, as_record
from fws_pipe.protocol.actions import ACTION_TYPES
from fws_pipe.protocol.codec import Frame, encode
from fws_pipe.protocol.events import EVENT_TYPES
from fws_pipe.terminal import one_line

ONE, TWO = 'stage 1 "one"', 'stage 2 "two"'
JOINTS: Frame = {
    "type": "joints",
    "chain": "",
    "joints": ["front", ONE, TWO, "sink"],
    "monotonic": 10.0,
    "time": 1000.0,
}


def passed(joint: str, time: float, *frames: Frame) -> Frame:
    return {"type": "passed", "chain": "", "joint": joint, "time": time, "data": b"".join(map(encode, frames))}


def executed(time: float) -> Frame:
    return {"type": "executed", "chain": "", "time": time}


def message(seq: int, client: str = "a") -> Frame:
    return {"type": "message", "seq": seq, "time": 0.0, "id": client, "data": "x"}


def tick(seq: int) -> Frame:
    return {"type": "tick", "seq": seq, "time": 0.0}


def send(seq: object, to: object = "a") -> Frame:
    return {"type": "send", "to": to, "data": "x", "seq": seq}


FRONT = [passed("front", 10.5, message(1), message(2, "b"), tick(3))]
FIRST = [passed(ONE, 10.501, message(1), message(2, "b"), tick(3))]
SECOND = [passed(TWO, 10.502, message(1)), passed(TWO, 10.503, send(1), send([1, 2], "*"), tick(3))]
BACK = [
    passed("sink", 10.504, send(1)),
    executed(10.505),
    passed("sink", 10.506, send([1, 2], "*"), tick(3)),
    executed(10.507),
]


def records_of(frames: Sequence[Frame], client: str | None = None) -> list[dict[str, Any]]:
    join = Join(client)
    return [as_record(event, join) for frame in [JOINTS, *frames] for event in join.add(frame)]


def interleaved(choices: list[int]) -> list[Frame]:
    """The streams of the joints behind the front, each in its order, merged by these choices."""
    streams = [list(FIRST), list(SECOND), list(BACK)]
    merged = list(FRONT)
    for choice in [*choices, *range(30)]:
        if stream := streams[choice % 3]:
            merged.append(stream.pop(0))
    return merged


@given(st.lists(st.integers(0, 2), max_size=8))
def test_each_event_has_its_way_and_what_it_has_caused(choices: list[int]) -> None:
    everyone = {"type": "send", "to": "*", "joint": TWO, "ms": 3.0, "executed_ms": 7.0}
    assert records_of(interleaved(choices)) == [
        {
            "time": 1000.5, "seq": 1, "type": "message", "id": "a", "ms": 7.0,
            "joints": [{"joint": ONE, "ms": 1.0}, {"joint": TWO, "ms": 2.0}],
            "actions": [{"type": "send", "to": "a", "joint": TWO, "ms": 3.0, "executed_ms": 5.0}, everyone],
        },
        {
            "time": 1000.5, "seq": 2, "type": "message", "id": "b", "ms": 7.0,
            "joints": [{"joint": ONE, "ms": 1.0}], "dropped_by": TWO, "actions": [everyone],
        },
    ]  # fmt: skip


def test_only_the_events_of_one_client_where_that_is_asked_for() -> None:
    assert [record["seq"] for record in records_of(interleaved([]), "b")] == [2]


def test_traceparents_come_from_open_and_from_clients_that_were_there() -> None:
    opening = {"type": "open", "seq": 1, "time": 0.0, "id": "a", "traceparent": "A"}
    frames = [
        {"type": "client", "id": "b", "traceparent": "B"},
        passed("front", 11.0, opening, message(2), message(3, "b"), message(4, "c"), tick(5)),
        passed(ONE, 11.0, tick(5)), passed(TWO, 11.0, tick(5)), passed("sink", 11.0, tick(5)), executed(11.0),
    ]  # fmt: skip
    assert [record.get("traceparent") for record in records_of(frames)] == ["A", "A", "B", None]


def test_what_a_chain_without_ticks_leaves_under_way_is_bounded_and_told() -> None:
    count = PENDING_LIMIT + 5
    records = records_of([passed("front", 11.0, *map(message, range(1, count + 1)))])
    assert [(record["seq"], record["finished"]) for record in records] == [(seq, False) for seq in range(1, 6)]


def test_columns_hold_what_the_record_holds() -> None:
    join = Join()
    lines = [as_columns(event, join) for frame in [JOINTS, *interleaved([])] for event in join.add(frame)]
    assert len(lines) == 2
    assert (
        lines[0].split()
        == (
            f"1 message a 7.000 ms {ONE} +1.000; {TWO} +2.000; send to a by {TWO} +3.000, executed +5.000; "
            f"send to * by {TWO} +3.000, executed +7.000"
        ).split()
    )
    assert f"dropped by {TWO}" in lines[1]
    assert all(one_line(line) == line for line in lines)


ODD_VALUES = st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.none() | st.just([1, [], {}])


@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(sorted(ACTION_TYPES | EVENT_TYPES)) | ODD_VALUES},
            optional={"seq": st.integers(1, 3) | ODD_VALUES, "id": ODD_VALUES, "to": ODD_VALUES, "group": ODD_VALUES},
        ),
        max_size=4,
    )
)
def test_no_action_of_a_filter_breaks_it(frames: list[Frame]) -> None:
    """What filters write is checked by the sink only, which stands behind them."""
    records_of([*FRONT, passed(ONE, 10.6, *frames, send([None, "x", 1]), send({}), tick(3))])
