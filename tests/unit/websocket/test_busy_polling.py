"""fws_pipe.websocket.busy_polling: when it pays to stay awake."""

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.websocket.busy_polling import AWAKE_S, BusyPolling

SHORT = AWAKE_S / 2
LONG = AWAKE_S * 2


def test_a_conversation_is_two_messages_and_their_answers() -> None:
    polling = BusyPolling()
    expected = []
    for _ in range(5):
        expected.append(polling.is_quick)
        polling.note(SHORT)
    assert expected == [False, False, False, False, True]


def test_one_long_wait_ends_it() -> None:
    polling = BusyPolling()
    for _ in range(10):
        polling.note(SHORT)
    polling.note(LONG)
    assert not polling.is_quick


def test_several_messages_at_once_end_it() -> None:
    polling = BusyPolling()
    for _ in range(10):
        polling.note(SHORT)
    polling.interrupt()
    assert not polling.is_quick


@given(st.lists(st.sampled_from([SHORT, LONG])))
def test_what_is_looked_for_in_vain_is_paid_for_by_messages_that_came_soon(waits: list[float]) -> None:
    polling = BusyPolling()
    in_vain = 0
    for waited in waits:
        in_vain += polling.is_quick and waited == LONG
        polling.note(waited)
    assert in_vain <= waits.count(SHORT) / 4
