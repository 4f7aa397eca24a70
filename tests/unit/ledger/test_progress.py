"""Suppression: of what a replay brings back, what has been executed is dropped, and nothing else."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.ledger import progress as module
from fws_pipe.ledger.progress import Progress
from fws_pipe.protocol.codec import Frame

LAST_EVENT = 1000


def make_progress() -> Progress:
    return Progress(lambda: LAST_EVENT)


def sends(*seqs: object) -> list[Frame]:
    return [{"type": "send", "to": "a", "seq": seq, "number": number} for number, seq in enumerate(seqs)]


def joined(frames: list[Frame], size: int) -> list[Frame]:
    """The same sends, so many in one frame, as far as they are for the same receiver."""
    runs: list[list[Frame]] = []
    for frame in frames:
        if runs and len(runs[-1]) < size and runs[-1][-1]["to"] == frame["to"]:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    return [{"type": "send", "to": run[0]["to"], "data": run, "seq": [send["seq"] for send in run]} for run in runs]


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
    progress = make_progress()
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


@given(
    st.lists(st.lists(st.sampled_from("abcd"), max_size=6), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 7), st.integers(0, 3)), max_size=4),
    st.randoms(use_true_random=False),
)
def test_whatever_order_a_run_answers_in_each_receiver_gets_each_answer_once(
    receivers_of_events: list[list[str]], deaths: list[tuple[int, int, int]], dice: random.Random
) -> None:
    # Each event is answered to so many receivers. A filter that dies starts again with another order, of the receivers
    # and of the events; its data differs from run to run.
    progress = make_progress()
    answers = [(seq, to) for seq, receivers in enumerate(receivers_of_events, 1) for to in receivers]
    done: Counter[tuple[int, str]] = Counter()

    def run(length: int, block: int, run: int) -> None:
        dice.shuffle(answers)
        frames = [{"type": "send", "to": to, "seq": seq, "time": dice.random()} for seq, to in answers]
        done.update((frame["seq"], frame["to"]) for frame in execute(progress, frames[:length], block, run))

    for death in deaths:
        run(*death)
        progress.begin_replay(0)
    run(len(answers), 3, 2)
    assert done == Counter(answers)


def test_a_receiver_that_has_left_meanwhile_costs_no_other_its_answer() -> None:
    progress = make_progress()
    fan_out = [{"type": "send", "to": to, "seq": 5, "data": "x"} for to in "abc"]
    progress.note(fan_out[:2])
    progress.begin_replay(0)
    assert list(progress.without_done([fan_out[2], fan_out[1]])) == [fan_out[2]]


def test_a_list_of_receivers_is_the_same_in_any_order_and_only_those_who_have_had_nothing_get_it() -> None:
    progress = make_progress()
    progress.note([{"type": "send", "to": ["a", "b"], "seq": 5, "data": "x"}])
    progress.begin_replay(0)
    again = {"type": "send", "to": ["c", "b", "a"], "seq": 5, "data": "x"}
    assert list(progress.without_done([again])) == [{**again, "to": ["c"]}]
    joined_again = {"type": "send", "to": ["b", "a"], "seq": [6, 5], "data": ["y", "x"]}
    assert list(progress.without_done([joined_again])) == [joined_again], "they have had it once before, and it is back"
    progress.begin_replay(0)
    assert list(progress.without_done([joined_again])) == [{**joined_again, "seq": [6], "data": ["y"]}]


def test_an_exception_of_several_is_the_same_in_any_order() -> None:
    progress = make_progress()
    progress.note([{"type": "send", "to": "*", "except": ["a", "b"], "seq": 5, "data": "x"}])
    progress.begin_replay(0)
    assert list(progress.without_done([{"type": "send", "to": "*", "except": ["b", "a"], "seq": 5, "data": "x"}])) == []


def test_what_has_no_number_is_never_suppressed() -> None:
    progress = make_progress()
    progress.note(sends(5))
    progress.begin_replay(0)
    frames = [{"type": "send"}, *sends(None, "5", 5.0, True)]
    assert list(progress.without_done(frames)) == frames
    assert progress.suppressed == 0
    assert progress.is_replaying


def test_a_number_that_no_event_has_is_taken_for_none() -> None:
    progress = make_progress()
    made_up = sends(LAST_EVENT + 1, 1767225600000)
    progress.note([*sends(5), *made_up])
    progress.begin_replay(4)
    assert list(progress.without_done([*made_up, *sends(5, 6)])) == [*made_up, sends(5, 6)[1]]
    assert list(progress.without_done([{"type": "tick", "seq": LAST_EVENT + 1}]))
    assert progress.is_replaying, "nor does a tick that was never written end the replay"
    progress.begin_replay(0)
    assert list(progress.without_done(sends(7))), (
        "and the replay after the next crash suppresses what was done, no more"
    )


def test_what_the_snapshot_causes_has_been_done() -> None:
    progress = make_progress()
    progress.begin_replay(10)
    assert list(progress.without_done(sends(3, 9))) == []
    assert progress.suppressed == 2
    assert list(progress.without_done(sends(11)))


def test_ticks_pass_and_a_new_one_ends_the_replay() -> None:
    progress = make_progress()
    progress.note(sends(5))
    progress.begin_replay(3)
    old, new = {"type": "tick", "seq": 4}, {"type": "tick", "seq": 6}
    assert list(progress.without_done([old])) == [old]
    assert progress.is_replaying
    assert list(progress.without_done([new])) == [new]
    assert not progress.is_replaying


@pytest.mark.parametrize("tells_late", [False, True])
def test_of_a_chain_without_ticks_an_action_of_a_new_event_ends_the_replay(tells_late: bool) -> None:
    progress = make_progress()
    progress.begin_replay(10, returns_ticks=tells_late)
    if tells_late:
        progress.expect_no_ticks()
    assert list(progress.without_done(sends(3))) == []
    assert progress.is_replaying
    assert list(progress.without_done(sends(11)))
    assert not progress.is_replaying


def test_what_was_executed_behind_a_tick_in_its_block_is_remembered() -> None:
    progress = make_progress()
    progress.note([*sends(5), {"type": "tick", "seq": 6}, *sends(7)])
    progress.acknowledge(6)
    progress.note([*sends(8), {"type": "tick", "seq": 9}])
    progress.begin_replay(6)
    assert list(progress.without_done(sends(5, 7, 8, 9))) == sends(5, 7, 8, 9)[3:]


def test_blocks_whose_tick_is_long_in_coming_are_remembered_without_their_data() -> None:
    progress = make_progress()
    for _ in range(200):
        progress.note([{"type": "send", "to": "a", "seq": 5, "data": b"x" * 1000}])
    assert len(progress._unread) <= module._UNREAD_BLOCKS
    progress.begin_replay(0)
    assert len(list(progress.without_done(sends(*[5] * 201)))) == 1


def test_what_is_remembered_is_bounded_and_beyond_that_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_ACTIONS", 3)
    progress = make_progress()
    fan_out = [{"type": "send", "to": f"client {number}", "seq": 5, "data": "x"} for number in range(5)]
    progress.note(fan_out)
    progress.begin_replay(0)
    assert list(progress.without_done(fan_out)) == fan_out[3:]


@pytest.mark.parametrize("kind", ["want", "hold", "resume", "flush", "remember"])
def test_what_holds_for_one_run_is_told_to_each(kind: str) -> None:
    progress = make_progress()
    action = {"type": kind, "seq": 13, "id": "a"}
    progress.note([action])
    progress.begin_replay(10)
    assert list(progress.without_done([action])) == [action]


def test_another_chain_may_have_other_groups_but_greets_nobody_twice() -> None:
    progress = make_progress()
    progress.begin_replay(10, may_regroup=True)
    join, send = {"type": "join", "seq": 3, "id": "a", "group": "g"}, {"type": "send", "seq": 3, "to": "a"}
    assert list(progress.without_done([join, send])) == [join]


def test_a_tick_is_no_action() -> None:
    progress = make_progress()
    progress.note([*sends(5), {"type": "tick", "seq": 6}, {"type": "confirm", "seq": 6}])
    progress.begin_replay(0)
    assert list(progress.without_done(sends(4, 5, 5))) == [sends(4, 5, 5)[0], sends(4, 5, 5)[2]]


def test_frames_that_make_no_sense_do_no_harm() -> None:
    progress = make_progress()
    odd: list[Frame] = [
        {"type": "send", "to": {"a": 1}, "seq": 5, "data": "x"},
        {},
        {"type": "send", "to": "a", "data": ["a"], "seq": ["x"]},
        {"type": "send", "to": [["a"]], "data": "x", "seq": 5},
        {"type": "send", "to": "*", "except": [["a"]], "data": "x", "seq": 5},
    ]
    for _ in range(20):
        progress.note(odd)
    progress.begin_replay(0)
    assert list(progress.without_done([*odd[1:3], *sends(5)])) == [*odd[1:3], *sends(5)]
