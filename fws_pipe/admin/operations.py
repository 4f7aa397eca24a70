"""What the live page may do beside showing figures: act on the server, and read frames and the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fws_pipe.admin.taps import Taps
from fws_pipe.chain.successor import Outcome
from fws_pipe.front.front import Front
from fws_pipe.log import Tail
from fws_pipe.protocol.actions import CLOSE

_REASON = "closed by an operator"


@dataclass(frozen=True)
class Operations:
    """The operations: each returns a line for people. `taps` and `tail` are what may hold clients' data."""

    front: Front
    start_reload: Callable[[], Outcome]
    start_drain: Callable[[], bool]
    """False: the server ends already."""
    taps: Taps
    tail: Tail

    async def reload(self) -> str:
        """Replace the chains, and wait for what comes of it."""
        problem = await self.start_reload().wait()
        return f"the chain stays as it is: {problem}" if problem else "the new chain serves"

    async def drain(self) -> str:
        """End the server in order."""
        return "the server drains" if self.start_drain() else "the server drains already"

    async def close(self, client_id: str) -> str:
        """Close a client with 1000."""
        for link in self.front.links:
            if link.clients.get(client_id) is not None:
                link.execute({"type": CLOSE, "to": client_id, "code": 1000, "reason": _REASON})
                link.clients.flush()
                return f"client {client_id} is being closed"
        return f"there is no client {client_id}"
