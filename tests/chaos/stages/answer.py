#!/usr/bin/env fws-python
"""Sends each message to its room, and what comes from Redis to room 0."""

from __future__ import annotations

from fws_pipe.sdk import on, run
from fws_pipe.sdk.functions import Event, send
from tests.chaos.stages.mortal import exit_if_told


@on("message")
def answer(event: Event) -> None:
    """The room stands before the first colon: see rooms.py."""
    exit_if_told()
    data = event["data"]
    if isinstance(data, str):
        room, _, text = data.partition(":")
        send(group=room, data=text)
    else:
        room_bytes, _, rest = data.partition(b":")
        send(group=room_bytes.decode(), data=rest)


@on("consumer")
def pass_in(event: Event) -> None:
    """What was published from outside."""
    send(group="0", data=event["data"])


if __name__ == "__main__":
    run()
