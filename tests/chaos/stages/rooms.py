#!/usr/bin/env fws-python
"""Has a state: which room each client is in, which stands in the query of its `open`. Writes it before each message.

What ends with POISON kills it, each time.
"""

from __future__ import annotations

import os

from fws_pipe.sdk import on, run
from fws_pipe.sdk.functions import Event, join
from tests.chaos.accounts import POISON
from tests.chaos.stages.mortal import exit_if_told

rooms: dict[str, str] = {}


@on("open")
def enter(event: Event) -> None:
    """A client has come, or was there before us: then the front must know its room."""
    room = rooms[event["id"]] = event["query"]
    if event.get("replay"):
        assert event["groups"] == [room], event
    else:
        join(event["id"], room)


@on("message")
def address(event: Event) -> None:
    """Say which room it is for. A client of which we have never heard is a KeyError, and ends us."""
    exit_if_told()
    room, data = rooms[event["id"]], event["data"]
    if data[-len(POISON) :] == POISON:
        os._exit(3)
    event["data"] = f"{room}:{data}" if isinstance(data, str) else room.encode() + b":" + data


@on("disconnect")
def go(event: Event) -> None:
    """A client has gone, of which we have heard, and once only."""
    del rooms[event["id"]]


if __name__ == "__main__":
    run()
