"""Suppression: of what a replay brings back, what has been executed is dropped, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.progress import Progress


def sends(*seqs: object) -> list[Frame]:
    return [{"type": "send", "seq": seq, "number": number} for number, seq in enumerate(seqs)]


def execute(progress: Progress, frames: list[Frame], block: int) -> list[Frame]:
    """Execute frames, so many at a time, as a front does; returns those that were."""
    done: list[Frame] = []
    for start in range(0, len(frames), block):
        part = frames[start : start + block]
        executed = list(progress.without_done(part)) if progress.is_replaying else part
        progress.note(executed)
        done += executed
    return done


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 7)), max_size=4),
    st.data(),
)
def test_however_often_a_chain_dies_each_action_is_executed_once(
    actions_of_events: list[int], deaths: list[tuple[int, int]], data: st.DataObject
) -> None:
    # Events 1, 2, 3, ..., each with so many actions, and a tick behind each that has come back up to `acknowledged`.
    frames = sends(*[seq for seq, count in enumerate(actions_of_events, 1) for _ in range(count)])
    progress = Progress()
    done: list[Frame] = []
    acknowledged = 0
    for length, block in deaths:
        came = [frame for frame in frames if frame["seq"] > acknowledged][:length]
        done += execute(progress, came, block)
        through = came[-1]["seq"] - 1 if came else acknowledged
        acknowledged = data.draw(st.integers(acknowledged, max(through, acknowledged)))
        progress.begin_replay(acknowledged)
    done += execute(progress, [frame for frame in frames if frame["seq"] > acknowledged], 3)
    assert done == frames


def test_what_has_no_number_is_never_suppressed() -> None:
    progress = Progress()
    progress.note(sends(5))
    progress.begin_replay(0)
    frames = [{"type": "send"}, *sends(None, "5", 5.0, True)]
    assert list(progress.without_done(frames)) == frames
    assert progress.suppressed == 0
    assert progress.is_replaying


def test_what_the_snapshot_causes_has_been_done() -> None:
    progress = Progress()
    progress.begin_replay(10)
    assert list(progress.without_done(sends(3, 9))) == []
    assert progress.suppressed == 2
    assert progress.is_done(11) is False
    assert not progress.is_replaying


def test_ticks_pass_and_a_new_one_ends_the_replay() -> None:
    progress = Progress()
    progress.note(sends(5))
    progress.begin_replay(3)
    old, new = {"type": "tick", "seq": 4}, {"type": "tick", "seq": 6}
    assert list(progress.without_done([old])) == [old]
    assert progress.is_replaying
    assert list(progress.without_done([new])) == [new]
    assert not progress.is_replaying


def test_wants_are_told_to_each_run() -> None:
    progress = Progress()
    progress.begin_replay(10)
    want = {"type": "want", "seq": 3, "events": ["data"]}
    assert list(progress.without_done([want])) == [want]


def test_of_a_joined_send_only_what_has_not_been_sent() -> None:
    progress = Progress()
    progress.note([{"type": "send", "data": ["a", "b", "c"], "seq": [4, 5, 5]}])
    progress.begin_replay(0)
    again = [
        {"type": "send", "to": "x", "data": ["a"], "seq": [4]},
        {"type": "send", "to": "x", "data": ["b", "c", "d", "e"], "seq": [5, 5, 5, 6]},
        {"type": "send", "to": "x", "data": ["f", "g"], "seq": [6, 7]},
    ]
    rest = list(progress.without_done(again))
    assert rest == [{"type": "send", "to": "x", "data": ["d", "e"], "seq": [5, 6]}, again[2]]
    assert progress.suppressed == 3
    progress.note(rest)
    progress.begin_replay(0)
    assert [progress.is_done(seq) for seq in (6, 7, 7)] == [True, True, False]


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), max_size=6))
def test_joined_or_not_the_position_is_the_same(groups: list[list[int]]) -> None:
    seqs = sorted(seq for group in groups for seq in group)
    plain, joined = Progress(), Progress()
    plain.note(sends(*seqs))
    while seqs:
        size = len(groups.pop())
        joined.note([{"type": "send", "data": ["x"] * size, "seq": seqs[:size]}])
        del seqs[:size]
    for progress in (plain, joined):
        progress.begin_replay(0)
    asked = [1, 1, 2, 2, 3, 3, 3, 3, 3]
    assert [plain.is_done(seq) for seq in asked] == [joined.is_done(seq) for seq in asked]


def test_a_tick_is_no_action() -> None:
    progress = Progress()
    progress.note([*sends(5), {"type": "tick", "seq": 6}, {"type": "confirm", "seq": 6}])
    progress.begin_replay(0)
    assert [progress.is_done(seq) for seq in (4, 5, 5)] == [True, True, False]
