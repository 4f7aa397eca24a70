"""Groups that clients choose themselves, in filtered_websocket's words: `token:NAME` joins, everything else goes to it.

The front holds the membership, so it outlives this filter, and tells of it when a chain starts again. With Redis a
group spans all servers.
"""

from __future__ import annotations

import os
import re

from fws_pipe.protocol.actions import GROUP_LIMIT_BYTES, is_group_name
from fws_pipe.sdk.functions import Event, join, leave, on, send

_PREFIX = "token:"
"""Of the groups' names as well: other filters have groups of their own. The bare prefix is the group of those that have
left: they are not to be taken for new ones, and put into the default group, when a chain starts again.
"""

_CHOICE = re.compile(r"token:(\S*)")


def default_group() -> str | None:
    """The group of clients that have not chosen one: $FWS_TOKEN, which --token sets."""
    return os.environ.get("FWS_TOKEN") or None


def group_of(event: Event, default: str | None) -> str | None:
    """The group that a client of this `open` event is in, or belongs into; None: it is in none, and shall be."""
    earlier = _earlier_group(event)
    return default if earlier is None else earlier or None


def _earlier_group(event: Event) -> str | None:
    """The group that a client has had before this filter started, "" if it had left; None: it has had none."""
    names = [group.removeprefix(_PREFIX) for group in event.get("groups", ()) if group.startswith(_PREFIX)]
    return names[0] if names else None


class TokenGroups:
    """Who is in which group. `default` is for those that have chosen none."""

    def __init__(self, default: str | None) -> None:
        self._default = default
        self._groups: dict[str, str] = {}
        """By client; "" for one that has left."""

    def opened(self, event: Event) -> None:
        """A client has come; or this filter is new, and the client may be in its group already."""
        client, earlier = event["id"], _earlier_group(event)
        if earlier is not None:
            self._groups.setdefault(client, earlier)
        elif self._default and client not in self._groups:
            self.move(client, self._default)

    def said(self, event: Event) -> None:
        """A client chooses a group, or says something to it."""
        client, data = event["id"], event["data"]
        choice = _CHOICE.match(_as_text(data))
        group = self.group(client)
        if choice:
            self._choose(client, choice.group(1))
        elif group is not None:
            send(group=_PREFIX + group, data=data, without=client, everywhere=True)
        else:
            send(client, "Error: No token has been set")

    def gone(self, client: str) -> None:
        """A client has gone; the front takes it out of its groups."""
        self._groups.pop(client, None)

    def group(self, client: str) -> str | None:
        """The group that a client is in, or None."""
        return self._groups.get(client) or None

    def move(self, client: str, group: str | None) -> None:
        """Take a client out of its group, and put it into another, or into none."""
        before, after = self._groups.get(client), group or ""
        if before == after:
            return
        if before is not None:
            leave(client, _PREFIX + before)
        self._groups[client] = after
        join(client, _PREFIX + after)

    def _choose(self, client: str, name: str) -> None:
        before = self.group(client)
        if not is_group_name(_PREFIX + name):
            send(client, f"Error: A token may have {GROUP_LIMIT_BYTES - len(_PREFIX)} bytes")
        elif name:
            self.move(client, name)
            send(client, f"Successfully registered with broadcast group: {name}")
        elif before is not None:
            self.move(client, None)
            send(client, f"Successfully left broadcast group: {before}")
        else:
            send(client, "Error: No token has been set")


def _as_text(data: str | bytes) -> str:
    return data if isinstance(data, str) else data.decode(errors="replace")


def register() -> None:
    """Handle this filter's events."""
    groups = TokenGroups(default_group())
    on("open")(groups.opened)
    on("message")(groups.said)
    on("disconnect")(lambda event: groups.gone(event["id"]))
