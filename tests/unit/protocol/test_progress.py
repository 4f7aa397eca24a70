"""Suppression: of what a replay brings back, what has been executed is dropped, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.progress import Progress


def sends(*seqs: object) -> list[Frame]:
    return [{"type": "send", "seq": seq, "number": number} for number, seq in enumerate(seqs)]


def joined(frames: list[Frame], size: int) -> list[Frame]:
    """The same sends, so many in one frame."""
    runs = [frames[start : start + size] for start in range(0, len(frames), size)]
    return [{"type": "send", "data": run, "seq": [send["seq"] for send in run]} for run in runs]


def single(frames: list[Frame]) -> list[Frame]:
    return [send for frame in frames for send in (frame["data"] if type(frame.get("data")) is list else [frame])]


def execute(progress: Progress, frames: list[Frame], block: int, run: int) -> list[Frame]:
    """Execute frames, so many at a time and so many joined, as a front does; returns those that were."""
    done: list[Frame] = []
    for start in range(0, len(frames), block):
        part = frames[start : start + block]
        part = joined(part, run) if run else part
        executed = list(progress.without_done(part)) if progress.is_replaying else part
        progress.note(executed)
        done += single(executed)
    return done


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 7), st.integers(0, 4)), max_size=4),
    st.data(),
)
def test_however_often_a_chain_dies_each_action_is_executed_once(
    actions_of_events: list[int], deaths: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    # Events 1, 2, 3, ..., each with so many actions, and a tick behind each that has come back up to `acknowledged`.
    frames = sends(*[seq for seq, count in enumerate(actions_of_events, 1) for _ in range(count)])
    progress = Progress()
    done: list[Frame] = []
    acknowledged = 0
    for length, block, run in deaths:
        came = [frame for frame in frames if frame["seq"] > acknowledged][:length]
        done += execute(progress, came, block, run)
        through = came[-1]["seq"] - 1 if came else acknowledged
        acknowledged = data.draw(st.integers(acknowledged, max(through, acknowledged)))
        progress.begin_replay(acknowledged)
    done += execute(progress, [frame for frame in frames if frame["seq"] > acknowledged], 3, 2)
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


def test_another_chain_may_have_other_groups_but_greets_nobody_twice() -> None:
    progress = Progress()
    progress.begin_replay(10, may_regroup=True)
    join, send = {"type": "join", "seq": 3, "id": "a", "group": "g"}, {"type": "send", "seq": 3, "to": "a"}
    assert list(progress.without_done([join, send])) == [join]


def test_a_tick_is_no_action() -> None:
    progress = Progress()
    progress.note([*sends(5), {"type": "tick", "seq": 6}, {"type": "confirm", "seq": 6}])
    progress.begin_replay(0)
    assert [progress.is_done(seq) for seq in (4, 5, 5)] == [True, True, False]
