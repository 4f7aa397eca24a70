"""Sees each accepted connection through its handshake, to an open client, a page or a refusal.

PROXY header -> request -> a plain one: its page (downloads sends files), or a refusal
                        -> an upgrade -> its route; address, origin, place, token
             -> the route's chain is told -> (the gate: it is asked) -> 101, and the conversation begins
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import trio

from fws_pipe.admission.entrance import Entrance
from fws_pipe.admission.lobby import Lobby
from fws_pipe.admission.proxy_protocol import ProxyHeaderError, missing, source_of
from fws_pipe.admission.quotas import ClientQuota
from fws_pipe.admission.tokens import Admission
from fws_pipe.clients.client import Client
from fws_pipe.counters import Count, Counters
from fws_pipe.front.access_log import AccessLog
from fws_pipe.front.downloads import BUSY, Downloads
from fws_pipe.front.limits import Limits
from fws_pipe.front.route import Route
from fws_pipe.http import handshake
from fws_pipe.http.pages import Pages
from fws_pipe.http.refusals import Refusals
from fws_pipe.http.request import Request, read_block, read_request
from fws_pipe.http.responses import FileResponse, Page, Refusal, for_method
from fws_pipe.http.routes import EVERY_PATH, RouteTable
from fws_pipe.http.trace_context import traceparent_of
from fws_pipe.log import Level, Log
from fws_pipe.protocol import events
from fws_pipe.protocol.codec import Frame
from fws_pipe.websocket.conversation import READ_BYTES, Conversation
from fws_pipe.websocket.meter import Meter
from fws_pipe.websocket.rfc6455 import ABNORMAL, TOKEN_EXPIRED
from fws_pipe.websocket.transport import SocketAddress, Transport
from fws_pipe.websocket.wire import Wire

_EXPIRY_CHECK_S = 60.0


class Reception:
    """Sees connections through their handshakes, and brings clients to the route of their path.

    `forget` is called with each wire that was closed before it became a client's.
    """

    def __init__(
        self,
        limits: Limits,
        entrance: Entrance,
        routes: RouteTable[Route],
        pages: Pages,
        downloads: Downloads,
        forget: Callable[[Wire], object],
        refusals: Refusals,
        access: AccessLog,
        counters: Counters,
        log: Log,
    ) -> None:
        self._limits = limits
        self._entrance = entrance
        self._routes = routes
        self._pages = pages
        self._downloads = downloads
        self._forget = forget
        self._refusals = refusals
        self._access = access
        self._counters = counters
        self._log = log
        self.lobby = Lobby(limits.max_handshakes, self._note_refused)
        self._quota = ClientQuota(limits.max_clients, limits.max_clients_per_address)

    def receive(self, client_id: str, wire: Wire) -> None:
        """Start the handshake of an accepted connection; `client_id` becomes the client's id."""
        self.lobby.enter(wire, self._entrance.known_host(wire.remote))
        wire.hand_over(_Newcomer(self, wire))
        wire.run_beside(self._receive, client_id, wire)

    def leave_lobby(self, wire: Wire) -> None:
        """Forget a connection that was closed before it became a client."""
        self.lobby.leave(wire)
        self._forget(wire)

    async def _receive(self, client_id: str, wire: Wire) -> None:
        """See a connection through its handshake, and end it unless it has become a client."""
        is_open = False
        try:
            is_open = await self._shake_hands(client_id, wire)
        finally:
            if not is_open:
                wire.abort()

    async def _shake_hands(self, client_id: str, wire: Wire) -> bool:
        """See a connection through its handshake. Returns whether it has become an open client."""
        request = None
        peer = wire.remote
        heard: list[bytes] = []
        try:
            with trio.move_on_after(self._limits.handshake_timeout) as deadline:
                request = await self._read_request(wire, heard)
        finally:
            route = self._route_of(request)
            client = None if route is None else route.client_of(client_id, wire)
            was_told = route is not None and client is not None and self._tell_heard(route, client, heard)
        if request is None or wire.is_closed:
            await self._refuse_unheard(wire, is_late=deadline.cancelled_caught)
            return False
        if isinstance(request.answer, handshake.PlainRequest):
            await self._answer_plain(request.answer, wire, peer)
            return False
        answer = self._decide(request.answer, route, wire, peer)
        if isinstance(answer, Page):
            await self._respond(wire, answer)
        elif isinstance(answer, Refusal):
            await self._refuse(wire, answer, request.upgrade)
        if route is None or client is None or not isinstance(answer, Admission):
            return False
        return await self._admit(client, route, answer, request.early, was_told=was_told)

    def _route_of(self, request: Request | None) -> Route | None:
        """The route of a request; that of all other paths for what names no path, such as a client that says nothing.

        None where there is none, and for a request that asks for no WebSocket.
        """
        if request is not None and isinstance(request.answer, handshake.PlainRequest):
            return None
        if request is not None and isinstance(request.answer, handshake.Upgrade):
            return self._routes.find(request.answer.path)
        return self._routes.get(EVERY_PATH)

    def _tell_heard(self, route: Route, client: Client, heard: Sequence[bytes]) -> bool:
        """Give the bytes of a handshake to a chain that wants `data`. Returns whether it was told.

        No chain gets them if the handshake may hold a token.
        """
        if not route.link.wants_data or self._entrance.has_auth or self._entrance.gate_timeout is not None:
            return False
        for block in heard:
            route.link.put_data(client, block)
        return True

    async def _read_request(self, wire: Wire, heard: list[bytes]) -> Request | None:
        """Read the PROXY header and the request, and append the bytes to `heard`; None: the client has gone."""
        limit = self._limits.max_header
        if self._entrance.begins_with_proxy_header(wire.remote):
            try:
                header = await read_proxy_header(wire.transport, limit)
                if header is None:
                    return None
                self._recognise(wire, source_of(header) or wire.remote)
            except ProxyHeaderError as error:
                return Request(handshake.no_proxy_header(str(error)))
        return await read_request(wire.transport, limit, heard.append, self._entrance.answer_to)

    def _decide(
        self, asked: handshake.Upgrade | Refusal | Page, route: Route | None, wire: Wire, peer: SocketAddress
    ) -> Admission | Refusal | Page:
        """Decide whether the client may come in, with the cheap checks first."""
        if isinstance(asked, Refusal | Page):
            return asked
        remote = self._entrance.client_of(asked, wire.remote, peer)
        if isinstance(remote, Refusal):
            return remote
        request = self._entrance.with_site(asked, peer[0])
        self._recognise(wire, remote)
        refusal = handshake.NO_ROUTE if route is None else route.refusal
        refusal = refusal or self._entrance.refusal_of_page(request) or self._quota.refusal_for(remote[0])
        return refusal or self._entrance.admit(request, time.time())

    async def _answer_plain(self, request: handshake.PlainRequest, wire: Wire, peer: SocketAddress) -> None:
        """Answer a request for no WebSocket; no chain hears of it."""
        remote = self._entrance.client_of(request, wire.remote, peer)
        if isinstance(remote, Refusal):
            await self._refuse(wire, for_method(request.method, remote), None)
            return
        self._recognise(wire, remote)
        answer = await self._pages.answer_to(request, self._entrance.site_of(request, peer[0]))
        if isinstance(answer, FileResponse):
            try:
                await self._send_file(wire, answer)
            finally:
                answer.content.close()
        elif isinstance(answer, Page):
            await self._respond(wire, answer)
        else:
            await self._refuse(wire, answer, None)

    async def _send_file(self, wire: Wire, response: FileResponse) -> None:
        """Send a file, from a place among the downloads, and none in the lobby."""
        if not await self._downloads.wait_place():
            await self._refuse(wire, BUSY if response.has_body else for_method("HEAD", BUSY), None)
        elif not wire.is_closed:
            self.lobby.leave(wire)
            self._downloads.take_place(wire)
            await self._downloads.send(wire, response)

    def _recognise(self, wire: Wire, remote: SocketAddress) -> None:
        """Note a client's address if it differs from the connection's, since a proxy has told it."""
        if remote != wire.remote:
            wire.transport.remote = remote
            self.lobby.recognise(wire, self._entrance.known_host(remote))

    async def _refuse(self, wire: Wire, refusal: Refusal, request: handshake.Upgrade | None) -> None:
        """Refuse a client; `request` is None where it has sent no valid request for a WebSocket."""
        self._counters.add_refusal(refusal.status)
        self._note_refused(wire.remote, refusal.reason or refusal.text, refusal.status, request)
        await self._respond(wire, refusal)

    def _note_refused(
        self, remote: SocketAddress, reason: str, status: int | None = None, request: handshake.Upgrade | None = None
    ) -> None:
        """Log a connection that has not become a client's; without a `status` it gets no answer."""
        origins = () if request is None else request.origins
        self._refusals.tell(remote, reason if status is None else f"{status}, {reason}", origins)
        self._access.refused(remote, reason, status, request)

    async def _refuse_unheard(self, wire: Wire, *, is_late: bool) -> None:
        """Log and count a connection that has sent no whole request, and answer it if it was too slow."""
        if is_late and wire.transport.has_begun:
            await self._refuse(wire, handshake.TOO_SLOW, None)
        elif is_late:
            self._counters.add(Count.TLS_TOO_SLOW)
            self._note_refused(wire.remote, "the TLS handshake was too slow")
        elif wire.transport.problem:
            self._counters.add(Count.TLS_FAILED)
            self._note_refused(wire.remote, wire.transport.problem)

    async def _respond(self, wire: Wire, response: Refusal | Page) -> None:
        if wire.is_closed or not wire.transport.has_begun:
            return  # with TLS no answer is possible before its handshake
        wire.send_response(response.encode())
        # A client that was too slow must not stay in a full lobby any longer.
        await wire.finish(lingers=response is not handshake.TOO_SLOW)

    async def _admit(self, client: Client, route: Route, admission: Admission, early: bytes, *, was_told: bool) -> bool:
        """Admit a client: give it a place, and tell its chain. Returns whether it is open now.

        `early` are the bytes behind its request; `was_told`: the chain has got them as `data` already.
        """
        wire = client.wire
        # Counted before the first checkpoint, so that a rush of clients can't exceed the limits.
        self.lobby.leave(wire)
        self._quota.add(wire.remote[0])
        route.note_admitted()
        wire.hand_over(_Admitted(route, client))
        request = admission.request
        client.auth, client.subprotocol = admission.claims, self._entrance.subprotocol_for(request)
        event = events.open_event(
            client.id,
            path=request.path,
            query=request.query,
            headers=request.headers,
            remote=wire.remote,
            subprotocol=client.subprotocol,
            tls=wire.transport.describe_tls(),
            auth=admission.claims,
            traceparent=traceparent_of(request.headers),
        )
        if self._entrance.gate_timeout is None:
            await route.link.announce(client, event)
        else:
            said_meanwhile = await self._pass_gate(client, route, event, request, has_spoken=bool(early))
            if said_meanwhile is None:
                return False
            early += said_meanwhile
        if client not in route.link.clients or wire.is_closed:
            return False
        if route.refusal is not None:  # meanwhile the route was removed, or its chain has failed
            await self._turn_away(client, route, route.refusal, request)
            return False
        return self._open(client, route, admission, early, was_told=was_told)

    async def _pass_gate(
        self, client: Client, route: Route, event: Frame, request: handshake.Upgrade, *, has_spoken: bool
    ) -> bytes | None:
        """Wait for the chain's answer; returns the bytes that the client has sent meanwhile, or None if it is refused.

        `has_spoken`: bytes have come behind its request.
        """
        said_meanwhile = b""
        wire = client.wire
        with trio.move_on_after(self._entrance.gate_timeout or 0.0) as gate:
            await route.link.announce(client, event)
            said_meanwhile = await self._wait_answered(client, wire, has_spoken=has_spoken)
        refusal = self._refusal_of(client, request.subprotocols)
        if client not in route.link.clients or wire.is_closed:
            if gate.cancelled_caught:
                # The feed had no room for the `open` in time.
                await self._refuse(wire, handshake.NO_ANSWER, request)
            return None
        if refusal is not None:
            await self._turn_away(client, route, refusal, request)
            return None
        return said_meanwhile

    async def _turn_away(self, client: Client, route: Route, refusal: Refusal, request: handshake.Upgrade) -> None:
        """Refuse a client after the chain has been told of it."""
        route.link.depart(client, ABNORMAL, f"refused with status {refusal.status}", clean=False)
        await self._refuse(client.wire, refusal, request)

    async def _wait_answered(self, client: Client, wire: Wire, *, has_spoken: bool) -> bytes:
        """Wait until the chain has answered; returns the bytes that the client has sent meanwhile."""
        early = b""

        async def watch() -> None:
            """Notice that a client leaves. One that has sent frames may end its side of the connection, and wait."""
            nonlocal early
            # Not with TLS, where a cancelled read would lose bytes.
            if wire.transport.descriptor is not None and not has_spoken:
                try:
                    early = await wire.transport.receive_some(READ_BYTES)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass  # gone
                if not early:
                    wire.abort()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await client.wait_answered()
            nursery.cancel_scope.cancel()
        return early

    def _refusal_of(self, client: Client, offers: Collection[str]) -> Refusal | None:
        answer = client.gate_answer
        if answer is None:
            return handshake.NO_ANSWER
        if answer.subprotocol is not None and answer.subprotocol not in offers:
            self._note_not_offered(answer.subprotocol)
            return handshake.NOT_OFFERED
        if answer.auth is not None:
            client.auth = answer.auth
        client.subprotocol = answer.subprotocol or client.subprotocol
        return answer.refusal

    def _note_not_offered(self, subprotocol: str) -> None:
        """Log this once, since it may happen again with each new client."""
        if self._counters.add(Count.NOT_OFFERED) == 1:
            self._log.always(
                f"accept.subprotocol: refused a client that does not offer {subprotocol!r}; name a subprotocol only if "
                "the client's Sec-WebSocket-Protocol header does"
            )

    def _open(self, client: Client, route: Route, admission: Admission, early: bytes, *, was_told: bool) -> bool:
        """Upgrade a client's connection. Returns False if the client has gone, which the first write shows."""
        wire, link = client.wire, route.link
        wire.send_response(handshake.accept(admission.request, client.subprotocol))
        if wire.is_closed:
            return False
        client.expires = admission.expires
        self._watch_expiry(client)
        link.clients.open(client)
        wire.release()
        if wire.is_closed:
            return False
        conversation = self._conversation_with(client, route)
        if self._log.shows(Level.DEBUG):
            self._log.debug(f"{client.id} has come from {wire.remote[0]}:{wire.remote[1]}", id=client.id)
        link.converse(client, conversation)
        conversation.tap(is_wanted=link.wants_data and not was_told)
        conversation.start(early)
        conversation.tap(is_wanted=link.wants_data)
        link.hold_as_asked(client)
        if early:
            link.feed.flush()
        return True

    def readmit(self, client: Client, route: Route, state: Mapping[str, Any]) -> None:
        """Go on with a client of another server (moving.py), which the chain hears of already."""
        wire, link = client.wire, route.link
        self._quota.add(wire.remote[0])
        route.note_admitted()
        self._watch_expiry(client)
        conversation = self._conversation_with(client, route)
        if conversation.meter is not None and state["meter"] is not None:
            conversation.meter.restore(state["meter"], trio.current_time())
        link.converse(client, conversation)
        conversation.start(state["unread"])  # a chain that wants `data` has had that as such
        conversation.tap(is_wanted=link.wants_data)
        link.hold_as_asked(client)
        wire.flush()

    def _conversation_with(self, client: Client, route: Route) -> Conversation[Client]:
        return Conversation(client, client.wire, route.readers_for(client.wire), route.link.feed, route, self._meter())

    def _watch_expiry(self, client: Client) -> None:
        if client.expires is not None:
            client.wire.run_beside(self._fail_when_expired, client.wire, client.expires)

    def _meter(self) -> Meter | None:
        """A meter for a client's messages, if a limit needs one."""
        pace = self._limits.pace
        is_wanted = pace.frames is not None or pace.bytes is not None or self._limits.idle_timeout > 0
        return Meter(pace, trio.current_time()) if is_wanted else None

    async def _fail_when_expired(self, wire: Wire, expires: float) -> None:
        # In several sleeps, since the wall clock may be set.
        while (left := expires - time.time()) > 0:
            await trio.sleep(min(left, _EXPIRY_CHECK_S))
        wire.fail(TOKEN_EXPIRED, "the token has expired")

    def take_back_place(self, client: Client) -> None:
        """Free the place of an admitted client, whose connection has been closed."""
        self._quota.remove(client.wire.remote[0])
        self._access.closed(client)


class _Newcomer:
    """Owns a wire while its handshake is under way."""

    __slots__ = ("_reception", "_wire")

    def __init__(self, reception: Reception, wire: Wire) -> None:
        self._reception = reception
        self._wire = wire

    def note_room(self) -> None:
        """No-op: nothing waits for room."""

    def note_failed(self) -> None:
        """No-op: only the connection's end matters."""

    def note_closed(self) -> None:
        """Let the connection leave the lobby."""
        self._reception.leave_lobby(self._wire)


class _Admitted:
    """Owns the wire of an admitted client until its conversation begins; with --gate while it waits for the answer."""

    __slots__ = ("_client", "_route", "note_room")

    def __init__(self, route: Route, client: Client) -> None:
        self._route = route
        self._client = client
        self.note_room = client.note_room

    def note_failed(self) -> None:
        """No-op: nothing is read yet."""

    def note_closed(self) -> None:
        """Free the client's place."""
        self._route.leave(self._client)


async def read_proxy_header(transport: Transport, limit: int) -> bytes | None:
    """Read a whole PROXY protocol header of at most `limit` bytes; None: the connection has ended.

    Raises ProxyHeaderError. Source: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt.
    """
    header = b""
    while count := missing(header, limit):
        if not (block := await read_block(transport.receive_first, count)):
            return None
        header += block
    return header
