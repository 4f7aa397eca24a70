"""A certificate authority, and a way in for clients that can't speak TLS."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import trio
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
        self._thread = threading.Thread(target=trio.run, args=(self._run,))

    def __enter__(self) -> TlsRelay:
        self._thread.start()
        assert self._is_listening.wait(PATIENCE_S)
        return self

    def __exit__(self, *error: object) -> None:
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        with trio.CancelScope() as self._scope:
            self._is_listening.set()
            await trio.serve_listeners(self._relay, [listener])

    async def _relay(self, client: trio.SocketStream) -> None:
        tcp = await trio.open_tcp_stream("127.0.0.1", self._server_port)
        server = trio.SSLStream(tcp, self._context, server_hostname="localhost", https_compatible=True)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(_pump, client, server, nursery.cancel_scope)
            nursery.start_soon(_pump, server, client, nursery.cancel_scope)


async def _pump(source: trio.abc.Stream, target: trio.abc.Stream, scope: trio.CancelScope) -> None:
    """Pass on what one side says; its end, with manners or without, ends both."""
    try:
        while block := await source.receive_some(1 << 16):
            await target.send_all(block)
    except trio.BrokenResourceError:
        pass
    scope.cancel()
