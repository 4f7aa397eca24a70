"""fws_pipe.websocket.busy_polling: when it pays to stay awake."""

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.websocket.busy_polling import AWAKE_S, Rhythm

SHORT = AWAKE_S / 2
LONG = AWAKE_S * 2


def test_a_conversation_is_two_messages_and_their_answers() -> None:
    rhythm = Rhythm()
    expected = []
    for _ in range(5):
        expected.append(rhythm.is_quick)
        rhythm.note(SHORT)
    assert expected == [False, False, False, False, True]


def test_one_long_wait_ends_it() -> None:
    rhythm = Rhythm()
    for _ in range(10):
        rhythm.note(SHORT)
    rhythm.note(LONG)
    assert not rhythm.is_quick


def test_several_messages_at_once_end_it() -> None:
    rhythm = Rhythm()
    for _ in range(10):
        rhythm.note(SHORT)
    rhythm.interrupt()
    assert not rhythm.is_quick


@given(st.lists(st.sampled_from([SHORT, LONG])))
def test_what_is_looked_for_in_vain_is_paid_for_by_messages_that_came_soon(waits: list[float]) -> None:
    rhythm = Rhythm()
    in_vain = 0
    for waited in waits:
        in_vain += rhythm.is_quick and waited == LONG
        rhythm.note(waited)
    assert in_vain <= waits.count(SHORT) / 4
