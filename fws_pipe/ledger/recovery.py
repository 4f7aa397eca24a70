"""Decides after a death which events the next chain gets again, whether one at a time, and which it never gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from fws_pipe.ledger.blame import Blame, Introductions, Remedy
from fws_pipe.ledger.introduction import opening_of, snapshot_of
from fws_pipe.ledger.journal import Journal, Kept, frames_of
from fws_pipe.protocol.events import OPEN

if TYPE_CHECKING:
    from fws_pipe.clients.client import Client


class Culprit(NamedTuple):
    """An event that is skipped because it kills the chain."""

    kept: Kept
    opening: bytes
    """Its client's `open` as in a snapshot; empty if the event is that `open`, or has no client."""
    barred: Client | None = None
    """The client, if the event is its `open`: no chain hears of it any more."""


class Finding(NamedTuple):
    """The event to blame, if any, and whether the kept events are written again one at a time."""

    culprit: Culprit | None
    is_careful: bool


_NOTHING = Finding(None, is_careful=False)


class Recovery:
    """Prepares a link's journal for its next chain. `find` gives the client with an id, also one that is leaving."""

    def __init__(self, journal: Journal[Client], find: Callable[[object], Client | None]) -> None:
        self._journal = journal
        self._find = find
        self._blame = Blame()
        self.introductions = Introductions()

    @property
    def last_chance(self) -> int:
        """The number of the event that is skipped if it is alone in the chain at one more death; 0: there is none."""
        return self._blame.last_chance

    def after_replacement(self) -> None:
        """Let the next chain get all unfinished events, in batches as before: the last one was replaced."""
        self._journal.restart()
        self.introductions.at_hand = None

    def after_death(self, *, is_introduced: bool) -> Finding:
        """Decide what the next chain gets after a death. `is_introduced`: the dead chain had heard of all clients."""
        victim = self.introductions.note_death(is_over=is_introduced)
        if victim is not None:
            self._journal.restart()
            return self._blame_introduction(victim)
        oldest = self._journal.oldest_under_way()
        remedy = self._blame.note_death(
            None if oldest is None else oldest.event["seq"],
            self._journal.newest_under_way,
            self._journal.events_under_way,
        )
        is_careful = remedy is Remedy.BE_CAREFUL
        self._journal.restart(careful_until=self._blame.careful_until if is_careful else 0)
        if oldest is None or remedy is not Remedy.SKIP:
            return Finding(None, is_careful)
        self._journal.skip(oldest.event["seq"])
        return Finding(self._blame_event(oldest), is_careful)

    def _blame_introduction(self, client_id: str) -> Finding:
        client = self._find(client_id)
        opening = None if client is None else opening_of(client)
        if client is None or opening is None:
            return _NOTHING
        return Finding(Culprit(next(frames_of([snapshot_of(client, opening)])), b"", client), is_careful=False)

    def _blame_event(self, kept: Kept) -> Culprit:
        client = self._find(kept.event.get("id"))
        opening = None if client is None else opening_of(client)
        if client is None or opening is None:
            return Culprit(kept, b"")
        if kept.event["type"] == OPEN:
            return Culprit(kept, b"", client)
        return Culprit(kept, snapshot_of(client, opening))
