"""The frames with which one server hands its clients over to another, on the control socket. No I/O.

    new -> old   takeover {protocol, version}
    old -> new   refused, or: server {accepted, files} with the listening sockets' descriptors
                 route {pattern, seq, departed, events}, one for each
                 clients {clients} with their descriptors, in batches
                 all
    new -> old   received, after each of these but the last; then taken: from here on the clients are the new one's

Until the old server has read `taken` nothing has changed: it goes on where the new one, or the connection, ends before.
"""

from __future__ import annotations

TAKEOVER = "takeover"
SERVER = "server"
ROUTE = "route"
CLIENTS = "clients"
ALL = "all"
RECEIVED = "received"
TAKEN = "taken"

PROTOCOL = 1
"""Goes up with each change of these frames that an older or newer server would misread."""

DESCRIPTORS_AT_ONCE = 128
"""How many clients a batch has: Linux takes 253 descriptors a message (SCM_MAX_FD)."""
