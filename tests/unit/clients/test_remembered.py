"""What is remembered of a client, against a model that keeps the whole history."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.clients.remembered import Remembered
from fws_pipe.protocol.actions import REMEMBERED_LIMIT_BYTES

NOTE, NOTE_AT_ONCE, TICK, DONE, CRASH = range(5)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([NOTE, NOTE, NOTE, NOTE_AT_ONCE, TICK, DONE, CRASH]),
        st.sampled_from(["nick", "count"]),
        st.none() | st.integers(0, 9),
    )
)


@given(STEPS)
def test_a_crash_brings_back_the_values_as_of_the_last_tick_that_is_done(
    steps: list[tuple[int, str, int | None]],
) -> None:
    """The model keeps all that is known at each tick; what holds at once is known at all of them."""
    remembered = Remembered()
    now: dict[str, int] = {}
    at_tick: dict[int, dict[str, int]] = {0: {}}
    done = last = 0
    for step, name, value in steps:
        if step in (NOTE, NOTE_AT_ONCE):
            remembered.note(name, value, last if step == NOTE else None)
            for known in [now, *(at_tick.values() if step == NOTE_AT_ONCE else ())]:
                known.pop(name, None)
                if value is not None:
                    known[name] = value
        elif step == TICK:
            last += 1
            at_tick[last] = dict(now)
        elif step == DONE:
            done = last
            remembered.settle(done)
        else:
            remembered.forget_unsettled()
            last, now = done, dict(at_tick[done])
        assert remembered.values() == at_tick[done]
    remembered.settle(float("inf"))
    assert (remembered.values(), remembered.is_settled) == (now, True)


def test_the_size_is_that_of_the_latest_names_and_values() -> None:
    remembered = Remembered()
    assert remembered.size_with("ü", "abc") == 2 + 4
    remembered.note("a", "x" * 100, after=None)
    remembered.note("b", "x" * 50, after=3)
    before = remembered.size_with("b", "")
    assert remembered.size_with("a", None) == 1 + 52
    remembered.note("a", None, after=4)
    assert remembered.size_with("b", "") == before - 103


def test_what_is_unsettled_is_bounded_and_the_oldest_settles() -> None:
    remembered = Remembered()
    for tick in range(100):
        remembered.note("a", f"{tick}" + "x" * (REMEMBERED_LIMIT_BYTES - 100), after=tick)
        assert remembered.weight < 7 * REMEMBERED_LIMIT_BYTES
    remembered.forget_unsettled()
    assert remembered.values()["a"].startswith("96")


def test_the_names_are_in_order_whatever_was_first() -> None:
    remembered = Remembered()
    for name in ("b", "a"):
        remembered.note(name, 1, after=None)
    assert list(remembered.values()) == ["a", "b"]
