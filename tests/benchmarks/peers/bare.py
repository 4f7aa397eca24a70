"""A peer: trio-websocket alone, as its documentation has it. `bare.py echo|broadcast`; says its port on stderr."""

from __future__ import annotations

import sys
from functools import partial

import trio
from trio_websocket import (
    ConnectionClosed,
    Endpoint,
    WebSocketConnection,
    WebSocketRequest,
    WebSocketServer,
    serve_websocket,
)

clients: set[WebSocketConnection] = set()


async def serve(request: WebSocketRequest, *, broadcasts: bool) -> None:
    """Echo, or send to all others."""
    connection = await request.accept()
    clients.add(connection)
    try:
        while True:
            message = await connection.get_message()
            for client in [other for other in clients if other is not connection] if broadcasts else [connection]:
                await client.send_message(message)
    except ConnectionClosed:
        clients.discard(connection)


async def main() -> None:
    """Serve on a free port."""
    handler = partial(serve, broadcasts=sys.argv[1] == "broadcast")
    async with trio.open_nursery() as nursery:
        server: WebSocketServer = await nursery.start(serve_websocket, handler, "127.0.0.1", 0, None)
        [endpoint] = server.listeners
        assert isinstance(endpoint, Endpoint)
        print(f"listening on {endpoint.url}", file=sys.stderr, flush=True)


trio.run(main)
