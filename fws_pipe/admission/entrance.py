"""What stands between an accepted connection and the chain: TLS, and the token that a client must show.

Both can be loaded again while the server runs; connections that are open keep what they came in with.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from fws_pipe.admission.origins import OriginPattern, allows, can_be_rebound, parse_origin
from fws_pipe.admission.proxies import UNIX, ContradictionError, Proxy, client_of, is_loopback, is_trusted, site_of
from fws_pipe.admission.tokens import Admission, Authenticator, AuthSettings
from fws_pipe.errors import UsageError
from fws_pipe.http.handshake import CONTRADICTION, Answer, Refusal, Upgrade, answer_to, wrong_origin
from fws_pipe.websocket.tls import TlsFiles, load_context
from fws_pipe.websocket.transport import PlainTransport, SocketAddress, TlsTransport, Transport


@dataclass(frozen=True)
class EntranceSettings:
    """Which of it is wanted; `gate_timeout` is in seconds, None: the chain isn't asked."""

    tls: TlsFiles | None = None
    auth: AuthSettings | None = None
    gate_timeout: float | None = None
    subprotocols: Sequence[str] = ()
    """What the server speaks within WebSocket, the best first."""
    origins: Sequence[OriginPattern] = ()
    """The pages that may connect; none: any."""
    proxies: Sequence[Proxy] = ()
    """Those whose word about a client's address counts."""
    names: Collection[str] = ()
    """The names that the server is told to have, in lower case."""
    has_proxy_protocol: bool = False
    """Whether their connections begin with a header of the PROXY protocol."""
    health_path: str | None = None
    """Where a proxy asks whether this server serves."""


class Reloaded(NamedTuple):
    """What was read again, and what stays as it was, with the reason."""

    read: list[str]
    kept: list[str]

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.read or self.kept)

    def __str__(self) -> str:
        told = (("read again", self.read), ("kept as before", self.kept))
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in told if names) or "nothing to read again"


_OWN_PAGES = (parse_origin("same"), parse_origin("none"))
"""Who may use a token in a cookie where nothing is said: pages of this host, and programs that are no browser."""


class Entrance:
    """The way in. Raises UsageError for files that can't be used."""

    def __init__(self, settings: EntranceSettings) -> None:
        self._settings = settings
        self._context: ssl.SSLContext | None = load_context(settings.tls) if settings.tls else None
        self._authenticator = Authenticator(settings.auth) if settings.auth else None
        self.gate_timeout = settings.gate_timeout

    @property
    def has_tls(self) -> bool:
        """Whether clients come with TLS."""
        return self._context is not None

    @property
    def has_auth(self) -> bool:
        """Whether clients must show a token, which no filter may see."""
        return self._authenticator is not None

    def transport_of(self, connection: socket.socket, remote: SocketAddress) -> Transport:
        """What a wire of this connection stands on."""
        if self._context is None:
            return PlainTransport(connection, remote)
        return TlsTransport(connection, remote, self._context)

    def answer_to(self, head: bytes) -> Answer:
        """Judge a request's head by its form."""
        return answer_to(head, self._settings.health_path)

    def begins_with_proxy_header(self, peer: SocketAddress) -> bool:
        """Whether a connection from there must begin with a header of the PROXY protocol; others must not."""
        return self._settings.has_proxy_protocol and is_trusted(peer[0], self._settings.proxies)

    def known_host(self, remote: SocketAddress) -> str | None:
        """The host that a connection from there counts for; None where it may be anybody's.

        That is so behind a trusted proxy, and for a Unix socket.
        """
        host, proxies = remote[0], self._settings.proxies
        return None if host == UNIX or (proxies and is_trusted(host, proxies)) else host

    def client_of(self, request: Upgrade, remote: SocketAddress, peer: SocketAddress) -> SocketAddress | Refusal:
        """Where a client comes from, by the word of the proxies that are trusted.

        `peer` is where its connection comes from, `remote` what a header of the PROXY protocol has told.
        """
        if remote == peer and self.begins_with_proxy_header(peer):
            return peer  # it has told no address: then the request must not do so, which may be the client's own
        try:
            return client_of(remote, request.headers, self._settings.proxies)
        except ContradictionError:
            return CONTRADICTION

    def with_site(self, request: Upgrade, peer: str) -> Upgrade:
        """The request with where the client has connected to, as `peer` tells it where that is a trusted proxy."""
        if not self._settings.origins and self._authenticator is None:
            return request  # nobody asks
        proxies = self._settings.proxies
        site = site_of(peer, request.headers, proxies)
        if site.is_secure is None and self.has_tls:
            site = site._replace(is_secure=True)
        # A page that has pointed its own name at this machine is found out by TLS, if there is any.
        is_local = not self.has_tls and not is_trusted(peer, proxies) and is_loopback(peer)
        host = site.host or request.host
        return replace(
            request, site=site._replace(is_certain=not is_local or not can_be_rebound(host, self._settings.names))
        )

    def refusal_of_page(self, request: Upgrade) -> Refusal | None:
        """Why the page that asks may not connect, if it may not."""
        origins = self._settings.origins
        if not origins or self._allows(origins, request):
            return None
        return wrong_origin(request.origins, is_host_believed=request.site.is_certain)

    def subprotocol_for(self, request: Upgrade) -> str | None:
        """The first of the server's subprotocols that the client offers, too (RFC 6455, section 4.2.2)."""
        spoken = self._settings.subprotocols
        offers = request.subprotocols if spoken else ()
        return next((name for name in spoken if name in offers), None)

    def admit(self, request: Upgrade, now: float) -> Admission | Refusal:
        """Look at the token, if one is wanted. `now` is in seconds since the epoch."""
        if self._authenticator is None:
            return Admission(claims=None, expires=None, request=request)
        answer = self._authenticator.admit(request, now)
        if isinstance(answer, Admission) and answer.is_by_cookie and not self._settings.origins:
            # A browser shows the cookie whichever page asks, so any page could act for its user (RFC 6455, 10.2).
            return answer if self._allows(_OWN_PAGES, request) else wrong_origin(request.origins)
        return answer

    def _allows(self, patterns: Sequence[OriginPattern], request: Upgrade) -> bool:
        host = request.host if request.site.is_certain else ""
        return allows(patterns, request.origins, host, is_secure=request.site.is_secure)

    def reload(self) -> Reloaded:
        """Read the files again, each kind by itself: what is wrong with one doesn't stop the other."""
        done = Reloaded([], [])
        for name, load in (("certificates", self._load_certificates), ("tokens", self._load_tokens)):
            try:
                if load():
                    done.read.append(name)
            except UsageError as error:
                done.kept.append(f"{name} ({error})")
        return done

    def _load_certificates(self) -> bool:
        """Load them, if there are any to be. Raises UsageError."""
        if self._settings.tls is None:
            return False
        self._context = load_context(self._settings.tls)
        return True

    def _load_tokens(self) -> bool:
        """Load them, if there are any to be. Raises UsageError."""
        if self._authenticator is None:
            return False
        self._authenticator.reload()
        return True
