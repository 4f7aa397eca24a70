"""A peer: picows, which is Cython, on uvloop. `picows_server.py echo|broadcast`; says its port on stderr."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

# By name: the types must hold also where they aren't installed.
picows: Any = import_module("picows")
uvloop: Any = import_module("uvloop")

BROADCASTS = sys.argv[1] == "broadcast"
clients: set[Any] = set()


class Client(picows.WSListener):  # type: ignore[misc]
    """Echoes, or sends to all others."""

    def on_ws_connected(self, transport: Any) -> None:
        clients.add(transport)

    def on_ws_disconnected(self, transport: Any) -> None:
        clients.discard(transport)

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == picows.WSMsgType.CLOSE:
            transport.disconnect()
            return
        kind, payload = frame.msg_type, frame.get_payload_as_bytes()
        if not BROADCASTS:
            transport.send(kind, payload)
            return
        for client in clients:
            if client is not transport:
                client.send(kind, payload)


async def main() -> None:
    """Serve on a free port."""
    server = await picows.ws_create_server(lambda request: Client(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f"listening on ws://127.0.0.1:{port}", file=sys.stderr, flush=True)
    await server.serve_forever()


uvloop.run(main())
