"""A peer: the server for asyncio that comes with websockets, on uvloop. Echoes; says its port on stderr."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

uvloop: Any = import_module("uvloop")  # by name: the types must hold also where it isn't installed


async def echo(connection: ServerConnection) -> None:
    """Send each message back."""
    with suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)


async def main() -> None:
    """Serve on a free port."""
    async with serve(echo, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(f"listening on ws://127.0.0.1:{port}", file=sys.stderr, flush=True)
        await server.serve_forever()


uvloop.run(main())
