"""Groups that clients choose: the message `token:NAME` joins a group, all others go to its members
(filtered_websocket).

The front holds the membership: it outlives this filter, and the snapshot for a new chain has it. With Redis a group
spans all servers.
"""

from __future__ import annotations

import os
import re

from fws_pipe.protocol.actions import GROUP_LIMIT_BYTES, is_group_name
from fws_pipe.sdk.functions import Event, join, leave, on, send

_PREFIX = "token:"
"""The prefix of these groups' names, too, since other filters have groups of their own. A client that has left its
group is in the group with the bare prefix: so when a chain restarts it isn't taken for a new client, which gets the
default.
"""

_CHOICE = re.compile(r"token:(\S*)")


def default_group() -> str | None:
    """The group of clients that have chosen none: $FWS_TOKEN, which --token sets; None: they are in no group."""
    return os.environ.get("FWS_TOKEN") or None


def group_of(event: Event, default: str | None) -> str | None:
    """The group of the client of an `open` event: the one in the snapshot, or else `default`; None: no group."""
    earlier = _earlier_group(event)
    return default if earlier is None else earlier or None


def _earlier_group(event: Event) -> str | None:
    """The client's group in a snapshot's `open`; "": it has left its group; None: it never had one."""
    names = [group.removeprefix(_PREFIX) for group in event.get("groups", ()) if group.startswith(_PREFIX)]
    return names[0] if names else None


class TokenGroups:
    """The group of each client. `default` is the group of new clients; None: no group."""

    def __init__(self, default: str | None) -> None:
        self._default = default
        self._groups: dict[str, str] = {}
        """The group by client id; "": the client has left its group."""

    def opened(self, event: Event) -> None:
        """Handle `open`: note the group of a client from a snapshot, or put a new client into the default group."""
        client, earlier = event["id"], _earlier_group(event)
        if earlier is not None:
            self._groups.setdefault(client, earlier)
        elif self._default and client not in self._groups:
            self.move(client, self._default)

    def said(self, event: Event) -> None:
        """Handle `message`: a choice of a group, or a message for the sender's group."""
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
        """Handle `disconnect`: forget the client; the front takes it out of its groups."""
        self._groups.pop(client, None)

    def group(self, client: str) -> str | None:
        """The group that a client (its id) is in, or None."""
        return self._groups.get(client) or None

    def move(self, client: str, group: str | None) -> None:
        """Take a client (its id) out of its group, and put it into another; None: into none."""
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
    """Register the handlers of the filter broadcast_by_token."""
    groups = TokenGroups(default_group())
    on("open")(groups.opened)
    on("message")(groups.said)
    on("disconnect")(lambda event: groups.gone(event["id"]))
