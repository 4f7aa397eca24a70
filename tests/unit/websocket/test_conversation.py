"""One client's side of what is said: what becomes of its bytes, when it is read, and what is told of its end."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.counters import Count
from fws_pipe.websocket.meter import Pace
from fws_pipe.websocket.rates import Rate, RatePolicy
from fws_pipe.websocket.rfc6455 import ABNORMAL, POLICY_VIOLATION, TOO_BIG, close_of, encode_close, encode_message
from fws_pipe.websocket.states import ConversationState as State
from fws_pipe.websocket.states import ImpossibleEventError
from tests.e2e.raw import BINARY, CLOSE, PING, PONG, Reply, frame
from tests.unit.websocket.talk import MAX_FRAGMENTS, MAX_MESSAGE, Talk, talk


def run(
    scenario: Callable[[Talk], Awaitable[None]],
    *,
    pace: Pace | None = None,
    is_fast: bool = True,
    slice_s: float = math.inf,
) -> None:
    async def main() -> None:
        async with talk(pace=pace, is_fast=is_fast, slice_s=slice_s) as made:
            await scenario(made)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def text(number: int) -> bytes:
    return frame(str(number).encode())


def fragment(payload: bytes, opcode: int = 0, *, final: bool = False) -> bytes:
    return frame(payload, first=(0x80 if final else 0) | opcode)


def closing(code: int, reason: str = "") -> bytes:
    """A client's Close frame."""
    return frame(encode_close(code, reason)[2:], opcode=CLOSE)


# What becomes of bytes.


@given(st.lists(st.integers(1, 12), max_size=12), st.booleans())
def test_messages_are_events_in_order_however_they_are_cut(cuts: list[int], is_fast: bool) -> None:
    async def scenario(made: Talk) -> None:
        stream = frame(b"one") + frame(b"\x02", BINARY) + frame(b"") + frame("drei \u2603".encode()) + frame(b"x" * 200)
        for size in [*cuts, len(stream)]:
            made.say(stream[:size])
            stream = stream[size:]
            await made.settle()
        assert made.messages == ["one", b"\x02", "", "drei \u2603", "x" * 200]
        assert made.conversation.weight == 0
        assert made.readers.is_read

    run(scenario, is_fast=is_fast)


def test_what_came_with_the_request_is_dealt_with_first() -> None:
    async def scenario(made: Talk) -> None:
        made.conversation.start(text(1) + text(2)[:4])
        made.say(text(2)[4:])
        assert made.messages == ["1", "2"]

    run(scenario)


def test_a_few_pings_are_each_answered_and_of_many_the_last() -> None:
    async def scenario(made: Talk) -> None:
        made.say(frame(b"a", PING) + frame(b"unasked", PONG) + text(1) + frame(b"b", PING))
        assert [reply.payload for reply in made.replies] == [b"a", b"b"]
        made.say(b"".join(frame(b"%d" % number, PING) for number in range(500)))
        assert made.replies[2:] == [Reply(0x80 | PONG, b"499")]
        assert made.messages == ["1"]
        assert made.readers.is_read

    run(scenario)


@pytest.mark.parametrize("is_fast", [False, True])
def test_fragments_are_one_message_in_its_place_and_nothing_is_read_before_it_is_whole(is_fast: bool) -> None:
    async def scenario(made: Talk) -> None:
        made.say(text(1) + fragment(b"2", 1) + frame(b"between", PING) + fragment(b"3", final=True) + text(4))
        assert not made.readers.is_read
        await made.settle()
        assert made.messages == ["1", "23", "4"]
        assert made.replies == [Reply(0x80 | PONG, b"between")]
        assert made.readers.is_read

    run(scenario, is_fast=is_fast)


def test_while_the_chain_wants_data_it_gets_the_bytes_before_what_they_mean() -> None:
    async def scenario(made: Talk) -> None:
        made.say(text(1)[:3])
        made.conversation.tap(is_wanted=True)
        made.say(text(1)[3:])
        made.say(text(2))
        made.conversation.tap(is_wanted=False)
        made.say(text(3))
        kept = [("data", text(1)[3:]), ("message", "1"), ("data", text(2)), ("message", "2"), ("message", "3")]
        assert made.feed.events == kept

    run(scenario)


# What is too much.


@pytest.mark.parametrize(
    ("stream", "counter"),
    [
        (frame(b"x" * (MAX_MESSAGE + 1))[:8], Count.MESSAGE_TOO_LARGE),
        (fragment(b"x" * MAX_MESSAGE, 1) + fragment(b"x"), Count.MESSAGE_TOO_LARGE),
        (fragment(b"", 1) + fragment(b"") * MAX_FRAGMENTS, Count.TOO_MANY_FRAGMENTS),
    ],
    ids=["a head alone", "in two fragments", "fragments of nothing"],
)
def test_what_is_too_large_closes_with_1009_and_the_chain_hears_no_more(stream: bytes, counter: Count) -> None:
    async def scenario(made: Talk) -> None:
        made.say(text(1) + stream)
        await made.settle()
        await trio.sleep(10)
        assert made.messages == ["1"]
        assert made.host.counters[counter] == 1
        assert [code for code, _, _ in made.host.departures] == [TOO_BIG]
        assert [reply.payload[:2] for reply in made.replies] == [TOO_BIG.to_bytes(2)]
        assert made.host.leaves == 1

    run(scenario)


def test_a_broken_frame_closes_with_1002_behind_what_was_right() -> None:
    async def scenario(made: Talk) -> None:
        made.say(text(1) + frame(b"unmasked", masked=False) + text(2))
        await trio.sleep(10)
        assert made.messages == ["1"]
        [(code, _, is_clean)] = made.host.departures
        assert (code, is_clean) == (1002, False)
        assert made.host.leaves == 1

    run(scenario)


# Room, and turns.


def test_a_client_without_room_is_not_read_and_goes_on_as_soon_as_there_is_some() -> None:
    async def scenario(made: Talk) -> None:
        made.client.has_room = False
        made.say(text(1) + text(2))
        assert made.messages == []
        assert not made.readers.is_read
        assert made.wire.waiting_since is None
        made.client.note_room()
        assert made.messages == [], "no room yet"
        made.client.has_room = True
        made.client.note_room()
        assert made.messages == ["1", "2"]
        assert made.readers.is_read
        assert made.client.held is None
        assert made.feed.flushes == 1

    run(scenario)


def test_where_there_is_no_time_a_client_that_finds_room_waits_for_its_turn() -> None:
    async def scenario(made: Talk) -> None:
        made.client.has_room = False
        made.say(text(1))
        made.client.has_room, made.host.laggards.has_time = True, False
        made.client.note_room()
        made.client.note_room()
        assert made.conversation.state is State.LAGGING
        assert made.messages == []
        assert made.host.laggards.waiting == [made.conversation]
        made.host.laggards.let_go_on()
        assert made.messages == ["1"]
        assert made.readers.is_read

    run(scenario)


def test_a_client_with_much_to_deal_with_goes_on_in_its_turn() -> None:
    async def scenario(made: Talk) -> None:
        made.client.count_budget = 1
        made.say(b"".join(text(number) + frame(b"", PONG) for number in range(1000)))
        turns = 0
        while made.host.laggards.waiting:
            assert not made.readers.is_read
            made.host.laggards.let_go_on()
            turns += 1
        assert turns >= 1000
        assert made.messages == [str(number) for number in range(1000)]
        assert made.readers.is_read

    run(scenario, slice_s=0)


def test_a_client_on_hold_is_not_read_and_goes_on_in_its_turn_with_what_had_been_read() -> None:
    async def scenario(made: Talk) -> None:
        made.client.has_room = False
        made.say(text(1))
        made.conversation.hold()
        made.conversation.hold()
        made.client.has_room = True
        made.client.note_room()
        assert made.messages == []
        assert not made.readers.is_read
        made.conversation.resume()
        made.conversation.resume()
        made.host.laggards.let_go_on()
        assert made.messages == ["1"]
        assert made.readers.is_read
        assert made.host.laggards.waiting == []

    run(scenario)


def test_an_error_of_ours_while_room_is_used_costs_this_client_alone() -> None:
    async def scenario(made: Talk) -> None:
        made.client.has_room = False
        made.say(text(1))
        made.client.has_room, made.feed.error = True, ValueError("ours")
        made.client.note_room()
        assert made.host.errors == [made.feed.error]
        assert made.wire.is_closed
        assert made.host.departures == [(ABNORMAL, "", False)]
        assert made.host.leaves == 1

    run(scenario)


# A rate.

SLOW = Pace(frames=Rate(2, 2.0))
"""Two frames at once, and one a second."""


def test_a_client_that_sends_faster_than_its_rate_is_read_more_slowly() -> None:
    async def scenario(made: Talk) -> None:
        made.say(b"".join(map(text, range(5))))
        seen = [len(made.messages)]
        assert not made.readers.is_read
        for _ in range(3):
            await trio.sleep(1.001)
            seen.append(len(made.messages))
        assert seen == [2, 3, 4, 5]
        assert made.host.counters[Count.HELD_BACK] >= 1
        await trio.sleep(1.001)
        assert made.readers.is_read

    run(scenario, pace=SLOW)


def test_a_rate_that_closes_ends_it_with_1008() -> None:
    async def scenario(made: Talk) -> None:
        made.say(b"".join(map(text, range(5))))
        await trio.sleep(10)
        assert made.messages == ["0", "1"]
        assert [code for code, _, _ in made.host.departures] == [POLICY_VIOLATION]
        assert made.host.counters[Count.TOO_FAST] == 1
        assert made.host.leaves == 1

    run(scenario, pace=Pace(frames=Rate(2, 1.0), policy=RatePolicy.CLOSE))


def test_a_rate_that_is_lifted_holds_nothing_back() -> None:
    async def scenario(made: Talk) -> None:
        made.say(b"".join(map(text, range(5))))
        made.conversation.lift_rate()
        assert len(made.messages) == 5
        assert made.readers.is_read
        made.say(b"".join(map(text, range(5))))
        assert len(made.messages) == 10

    run(scenario, pace=SLOW)


def test_a_reset_gives_up_what_a_rate_holds_back_but_not_what_waits_for_room() -> None:
    async def held_back(made: Talk) -> None:
        made.say(b"".join(map(text, range(5))))
        made.conversation.note_reset()
        await trio.sleep(10)
        assert made.messages == ["0", "1"]
        assert made.host.departures == [(ABNORMAL, "", False)]

    async def crowded(made: Talk) -> None:
        made.client.has_room = False
        made.say(text(1))
        made.conversation.note_reset()
        assert made.host.departures == []
        made.client.has_room = True
        made.client.note_room()
        assert made.messages == ["1"]

    run(held_back, pace=SLOW)
    run(crowded)


# What is unfinished.


def test_sweeps_count_how_long_one_message_has_been_unfinished() -> None:
    async def scenario(made: Talk) -> None:
        assert made.conversation.sweep() == 0
        made.say(text(1)[:3])
        assert [made.conversation.sweep(), made.conversation.sweep()] == [1, 2]
        assert made.conversation.weight >= 3
        made.say(text(1)[3:] + text(2)[:3])
        assert made.conversation.sweep() == 1, "another one has begun"
        made.say(text(2)[3:] + fragment(b"x" * 100, 1))
        await made.settle()
        assert made.conversation.weight >= 100
        assert [made.conversation.sweep(), made.conversation.sweep()] == [1, 2]
        made.say(fragment(b"", final=True))
        await made.settle()
        assert made.conversation.sweep() == 0
        assert made.conversation.weight == 0

    run(scenario)


# The end.


@pytest.mark.parametrize("in_library", [False, True])
def test_a_close_frame_is_echoed_and_the_end_is_clean(in_library: bool) -> None:
    async def scenario(made: Talk) -> None:
        if in_library:
            made.say(fragment(b"2", 1) + fragment(b"3", final=True))
            await made.settle()
        made.say(text(1) + closing(1001, "bye") + text(2))
        await trio.sleep(10)
        assert made.messages == ["23", "1"][not in_library :]
        assert made.host.departures == [(1001, "bye", True)]
        [reply] = made.replies
        assert (reply.first, reply.payload[:2]) == (0x80 | CLOSE, (1001).to_bytes(2))
        assert made.wire.is_closed
        assert made.host.leaves == 1

    run(scenario)


def test_the_answer_to_our_close_frame_ends_it_with_our_code() -> None:
    async def scenario(made: Talk) -> None:
        made.wire.begin_close(1001, "off")
        made.say(text(1))
        made.say(closing(1001))
        assert made.messages == ["1"], "what was under way still counts"
        assert made.host.departures == [(1001, "", True)]
        assert close_of(made.socket.recv(100)) == (1001, "off")
        assert made.host.leaves == 1

    run(scenario)


@pytest.mark.parametrize("in_library", [False, True])
def test_a_client_that_is_lost_has_gone_with_1006(in_library: bool) -> None:
    async def scenario(made: Talk) -> None:
        made.say(fragment(b"begun", 1) if in_library else text(1)[:3])
        await made.settle()
        made.conversation.lose()
        await trio.sleep(10)
        assert made.host.departures == [(ABNORMAL, "", False)]
        assert made.messages == []
        assert made.readers.is_removed
        assert made.host.leaves == 1

    run(scenario)


@pytest.mark.parametrize("in_library", [False, True])
def test_a_client_that_ends_its_side_goes_when_what_it_has_sent_is_answered(in_library: bool) -> None:
    async def scenario(made: Talk) -> None:
        made.say(fragment(b"", 1) + fragment(b"1", final=True) if in_library else text(1))
        made.client.has_under_way = True
        await made.settle()
        made.conversation.note_end()
        await trio.sleep(1000)
        assert made.host.departures == []
        assert made.readers.is_removed
        made.wire.write(encode_message("reply"))
        made.client.note_through()
        await made.settle()
        assert made.host.departures == [(ABNORMAL, "", False)]
        assert made.host.leaves == 1
        assert [reply.payload for reply in made.replies] == [b"reply"]
        assert made.messages == ["1"]

    run(scenario)


@pytest.mark.parametrize("in_library", [False, True])
def test_a_client_goes_though_the_chain_sends_itself_events_for_ever(in_library: bool) -> None:
    async def scenario(made: Talk) -> None:
        made.say(fragment(b"", 1) + fragment(b"1", final=True) if in_library else text(1))
        made.client.has_under_way = True
        await made.settle()
        made.conversation.note_end()
        await trio.sleep(1000)
        assert made.host.departures == []
        made.feed.settled = made.feed.last_event
        made.client.note_caused()
        await made.settle()
        assert made.host.departures == []
        await trio.sleep(10)
        assert made.host.departures == [(ABNORMAL, "", False)]
        assert made.host.leaves == 1

    run(scenario)


def test_a_client_that_has_ended_its_side_and_takes_no_reply_has_gone() -> None:
    async def scenario(made: Talk) -> None:
        made.say(text(1))
        made.client.has_under_way = True
        made.conversation.note_end()
        made.wire.abort()
        await made.settle()
        made.client.note_through()
        await made.settle()
        assert made.host.departures == [(ABNORMAL, "", False)]
        assert made.host.leaves == 1

    run(scenario)


def test_a_client_that_is_not_read_can_not_be_lost() -> None:
    async def scenario(made: Talk) -> None:
        made.say(fragment(b"last ", 1) + fragment(b"words", final=True))
        with pytest.raises(ImpossibleEventError):
            made.conversation.lose()
        await made.settle()
        made.conversation.lose()
        await made.settle()
        assert made.feed.events == [("message", "last words")]
        assert made.host.departures == [(ABNORMAL, "", False)]

    run(scenario)


def test_what_is_read_after_the_end_is_no_event() -> None:
    async def scenario(made: Talk) -> None:
        made.conversation.fail(POLICY_VIOLATION, "enough")
        made.conversation.receive(text(1), trio.current_time())
        await trio.sleep(10)
        made.conversation.receive(text(2), trio.current_time())
        made.conversation.lose()
        assert made.feed.events == []
        assert made.host.departures == [(POLICY_VIOLATION, "enough", False)]
        assert made.host.leaves == 1

    run(scenario)


def any_stream(source: random.Random) -> tuple[bytes, list[str | bytes]]:
    """What a client may say, well-formed but for its end, and its messages."""
    stream, messages = b"", list[str | bytes]()
    for number in range(source.randint(1, 8)):
        kind = source.choice(["plain", "plain", "fragments", "control"])
        if kind == "plain":
            stream += text(number)
        elif kind == "fragments":
            stream += fragment(b"%d" % number, 1) + fragment(b"", final=True)
        else:
            stream += frame(b"", source.choice([PING, PONG]))
            continue
        messages.append(str(number))
    return stream + source.choice([b"", b"", closing(1000), frame(b"", masked=False)]), messages


@given(st.integers(0, 1 << 32))
def test_whatever_happens_when_events_keep_their_order_and_the_end_is_told_once(seed: int) -> None:
    """The schedule comes from one number; ImpossibleEventError would fail it, as any of the fakes' own checks."""
    source = random.Random(seed)
    stream, messages = any_stream(source)

    async def scenario(made: Talk) -> None:
        rest = stream

        def read() -> None:
            nonlocal rest
            size = source.choice([1, 5, 1000])
            if made.readers.is_read and rest:
                made.say(rest[:size])
                rest = rest[size:]

        def change_room() -> None:
            made.client.has_room = source.random() < 0.5
            made.client.note_room()

        def give_turn() -> None:
            made.host.laggards.has_time = source.random() < 0.5
            if made.host.laggards.waiting:
                made.host.laggards.let_go_on()

        def lose() -> None:
            if made.readers.is_read:
                made.conversation.lose()

        def end_side() -> None:
            if made.readers.is_read:
                made.client.has_under_way = source.random() < 0.5
                made.conversation.note_end()

        other = [change_room, give_turn, made.client.note_through, made.conversation.sweep, made.conversation.lift_rate]
        other += [made.conversation.hold, made.conversation.resume]
        usual: list[Callable[[], object]] = [*[read] * 8, *other]
        close = partial(made.wire.begin_close, 1001, "off")
        rare: list[Callable[[], object]] = [
            lose,
            end_side,
            close,
            made.conversation.note_reset,
            made.wire.abort,
            made.socket.close,
        ]
        for _ in range(source.randint(0, 40)):
            source.choice(rare if source.random() < 0.1 else usual)()
            if source.random() < 0.3:
                await made.settle()
            if source.random() < 0.1:
                await trio.sleep(source.choice([0.01, 1]))
        made.wire.abort()
        await made.settle()
        assert made.host.errors == []
        assert made.messages == messages[: len(made.messages)]
        assert len(made.host.departures) == made.host.leaves == 1
        assert not made.readers.is_read
        assert made.client.held is None

    slice_s = source.choice([0, math.inf])
    run(scenario, pace=source.choice([None, SLOW]), is_fast=source.random() < 0.7, slice_s=slice_s)
