"""A certificate authority, and a way in for clients that can't speak TLS."""

from __future__ import annotations

import asyncio
import ssl
import threading
from pathlib import Path

import trustme

from tests.harness import PATIENCE_S


class Authority:
    """A certificate authority, and the PEM files that a server wants."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.ca.cert_pem.write_to_path(folder / "ca.pem")

    def issue(self, cert: str = "cert.pem", key: str = "key.pem") -> list[str]:
        """Make a certificate for localhost; returns the options that name its files."""
        issued = self.ca.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(self.folder / key)
        (self.folder / cert).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return ["--cert", cert, "--key", key]

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        context.set_alpn_protocols(["http/1.1"])
        return context


class TlsRelay:
    """Listens without TLS on `port`, and passes each connection on to a server with TLS; in a thread of its own."""

    def __init__(self, server_port: int, context: ssl.SSLContext) -> None:
        self.port = 0
        self._server_port = server_port
        self._context = context
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> TlsRelay:
        self._thread.start()
        assert self._is_listening.wait(PATIENCE_S)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with await asyncio.start_server(self._relay, "127.0.0.1", 0) as listener:
            self.port = listener.sockets[0].getsockname()[1]
            self._is_listening.set()
            await self._stop.wait()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(
            "127.0.0.1", self._server_port, ssl=self._context, server_hostname="localhost"
        )
        await asyncio.gather(_pump(reader, to_server), _pump(from_server, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what one side says, and its end."""
    try:
        while block := await reader.read(1 << 16):
            writer.write(block)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass  # an end without manners is an end
    writer.close()
