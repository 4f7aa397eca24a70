"""Groups that clients choose themselves, in filtered_websocket's words: `token:NAME` joins, everything else goes to it.

The front holds the membership, so it outlives this filter, and tells of it when a chain starts again. With Redis a
group spans all servers.
"""

from __future__ import annotations

import os
import re

from fws_pipe.sdk.functions import Event, join, leave, on, send

_PREFIX = "token:"
"""Of the groups' names as well: other filters have groups of their own."""

_CHOICE = re.compile(r"token:(\S*)")


class TokenGroups:
    """Who has chosen which group. `default` is for those that have chosen none."""

    def __init__(self, default: str | None) -> None:
        self._default = default
        self._chosen: dict[str, str] = {}

    def opened(self, event: Event) -> None:
        """A client has come; or this filter is new, and the client in its group already."""
        client = event["id"]
        earlier = [group for group in event.get("groups", ()) if group.startswith(_PREFIX)]
        if earlier:
            self._chosen[client] = earlier[0].removeprefix(_PREFIX)
        elif self._default and not event.get("replay"):
            self._join(client, self._default)

    def said(self, event: Event) -> None:
        """A client chooses a group, or says something to it."""
        client, data = event["id"], event["data"]
        choice = _CHOICE.match(_as_text(data))
        if choice:
            self._choose(client, choice.group(1))
        elif client in self._chosen:
            send(group=_PREFIX + self._chosen[client], data=data, without=client, everywhere=True)
        else:
            send(client, "Error: No token has been set")

    def gone(self, event: Event) -> None:
        """A client has gone; the front takes it out of its groups."""
        self._chosen.pop(event["id"], None)

    def _choose(self, client: str, name: str) -> None:
        before = self._chosen.pop(client, None)
        if before is not None and before != name:
            leave(client, _PREFIX + before)
        if name:
            self._join(client, name)
            send(client, f"Successfully registered with broadcast group: {name}")
        elif before is not None:
            send(client, f"Successfully left broadcast group: {before}")
        else:
            send(client, "Error: No token has been set")

    def _join(self, client: str, name: str) -> None:
        self._chosen[client] = name
        join(client, _PREFIX + name)


def _as_text(data: str | bytes) -> str:
    return data if isinstance(data, str) else data.decode(errors="replace")


def register() -> None:
    """Handle this filter's events; $FWS_TOKEN, which --token sets, is the default group."""
    groups = TokenGroups(os.environ.get("FWS_TOKEN") or None)
    on("open")(groups.opened)
    on("message")(groups.said)
    on("disconnect")(groups.gone)
