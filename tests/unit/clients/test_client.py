"""One client: its groups, and the chain's answer at the gate."""

from __future__ import annotations

import trio
import trio.testing

from fws_pipe.clients.client import Client, GateAnswer
from fws_pipe.http.handshake import NOT_SERVED
from tests.unit.clients.recording_wire import Wire


def test_groups() -> None:
    client = Client("a", Wire(), 1000)  # type: ignore[arg-type]
    client.join("tea")
    before = client.groups
    client.join("chess")
    client.leave("tea")
    client.leave("tea")
    assert client.groups == {"chess"}
    assert before == {"tea"}, "what has been read stays as it was"


def test_the_first_answer_of_the_chain_counts() -> None:
    async def main() -> None:
        client = Client("a", Wire(), 1000)  # type: ignore[arg-type]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.wait_answered)
            await trio.testing.wait_all_tasks_blocked()
            client.answer(GateAnswer(NOT_SERVED))
            client.answer(GateAnswer(None))
        assert client.gate_answer == GateAnswer(NOT_SERVED)
        await client.wait_answered()

    trio.run(main)
