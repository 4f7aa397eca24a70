"""The checks between an accepted connection and the chain: TLS, the PROXY protocol, the page's origin, the token.

Certificates and tokens can be read again while the server runs; open connections keep those that they came in with.
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
from fws_pipe.http.handshake import CONTRADICTION, Answer, PlainRequest, Upgrade, answer_to, wrong_origin
from fws_pipe.http.responses import Refusal
from fws_pipe.http.site import Site
from fws_pipe.websocket.tls import TlsFiles, load_context
from fws_pipe.websocket.transport import PlainTransport, SocketAddress, TlsTransport, Transport


@dataclass(frozen=True)
class EntranceSettings:
    """Which checks are on. `gate_timeout` is in seconds; None: the chain isn't asked about handshakes."""

    tls: TlsFiles | None = None
    auth: AuthSettings | None = None
    gate_timeout: float | None = None
    subprotocols: Sequence[str] = ()
    """The subprotocols that the server speaks, the preferred one first."""
    origins: Sequence[OriginPattern] = ()
    """The pages that may connect; empty: any page."""
    proxies: Sequence[Proxy] = ()
    """The trusted proxies: the server believes what they tell of a client's address."""
    names: Collection[str] = ()
    """The server's own host names (--host), in lower case."""
    has_proxy_protocol: bool = False
    """Whether connections of trusted proxies begin with a header of the PROXY protocol."""
    health_path: str | None = None
    """The URL path of health checks; None: none."""


class Reloaded(NamedTuple):
    """The kinds of files that were read again, and those that stay as they were, each with the reason."""

    read: list[str]
    kept: list[str]

    def __bool__(self) -> bool:
        """Whether any file was to be read."""
        return bool(self.read or self.kept)

    def __str__(self) -> str:
        told = (("read again", self.read), ("kept as before", self.kept))
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in told if names) or "nothing to read again"


_OWN_PAGES = (parse_origin("same"), parse_origin("none"))
"""Without --origin a token in a cookie admits pages of this host, and programs that are no browser."""


class Entrance:
    """Checks connections and requests. Raises UsageError for certificates or tokens that can't be used."""

    def __init__(self, settings: EntranceSettings) -> None:
        self._settings = settings
        self._context: ssl.SSLContext | None = load_context(settings.tls) if settings.tls else None
        self._authenticator = Authenticator(settings.auth) if settings.auth else None
        self.gate_timeout = settings.gate_timeout

    @property
    def has_tls(self) -> bool:
        """Whether clients connect with TLS."""
        return self._context is not None

    @property
    def has_auth(self) -> bool:
        """Whether clients must show a token, which no filter may see."""
        return self._authenticator is not None

    def transport_of(self, connection: socket.socket, remote: SocketAddress) -> Transport:
        """The transport of a new connection: TLS or plain TCP."""
        if self._context is None:
            return PlainTransport(connection, remote)
        return TlsTransport(connection, remote, self._context)

    def answer_to(self, head: bytes) -> Answer:
        """The answer to a request's head by its form alone; see handshake.answer_to."""
        return answer_to(head, self._settings.health_path)

    def begins_with_proxy_header(self, peer: SocketAddress) -> bool:
        """Whether a connection from this peer must begin with a header of the PROXY protocol; others must not."""
        return self._settings.has_proxy_protocol and is_trusted(peer[0], self._settings.proxies)

    def known_host(self, remote: SocketAddress) -> str | None:
        """The host that a new connection counts for; None where it isn't known yet.

        It isn't behind a trusted proxy, whose request will tell it, nor on a Unix socket, which has none.
        """
        host, proxies = remote[0], self._settings.proxies
        return None if host == UNIX or (proxies and is_trusted(host, proxies)) else host

    def client_of(
        self, request: Upgrade | PlainRequest, remote: SocketAddress, peer: SocketAddress
    ) -> SocketAddress | Refusal:
        """The client's (host, port), as the trusted proxies tell it; a Refusal where they contradict each other.

        `peer` is the address of the connection itself, `remote` the one that a header of the PROXY protocol has told.
        """
        if remote == peer and self.begins_with_proxy_header(peer):
            # The proxy told no address. The request's headers don't count: the client may have written them.
            return peer
        try:
            return client_of(remote, request.headers, self._settings.proxies)
        except ContradictionError:
            return CONTRADICTION

    def site_of(self, request: Upgrade | PlainRequest, peer: str) -> Site:
        """The host and scheme that the client connected to; `peer` is the host that the connection comes from."""
        site = site_of(peer, request.headers, self._settings.proxies)
        return site._replace(is_secure=True) if site.is_secure is None and self.has_tls else site

    def with_site(self, request: Upgrade, peer: str) -> Upgrade:
        """The request with its site: the host and scheme that the client connected to, as a trusted proxy tells them.

        `peer` is the host that the connection itself comes from.
        """
        if not self._settings.origins and self._authenticator is None:
            return request  # only the checks of origins and cookies need the site
        site, proxies = self.site_of(request, peer), self._settings.proxies
        # A page may point its own name at this machine (DNS rebinding). TLS reveals that: no certificate has that name.
        is_local = not self.has_tls and not is_trusted(peer, proxies) and is_loopback(peer)
        host = site.host or request.host
        return replace(
            request, site=site._replace(is_certain=not is_local or not can_be_rebound(host, self._settings.names))
        )

    def refusal_of_page(self, request: Upgrade) -> Refusal | None:
        """The refusal of a request whose page may not connect (--origin); None: it may."""
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
        """Admit or refuse a request by its token, where tokens are required. `now` is in seconds since the epoch."""
        if self._authenticator is None:
            return Admission(claims=None, expires=None, request=request)
        answer = self._authenticator.admit(request, now)
        if isinstance(answer, Admission) and answer.is_by_cookie and not self._settings.origins:
            # A browser sends the cookie with any page's request, so any page could act for its user (RFC 6455, 10.2).
            return answer if self._allows(_OWN_PAGES, request) else wrong_origin(request.origins)
        return answer

    def _allows(self, patterns: Sequence[OriginPattern], request: Upgrade) -> bool:
        host = request.host if request.site.is_certain else ""
        return allows(patterns, request.origins, host, is_secure=request.site.is_secure)

    def reload(self) -> Reloaded:
        """Read certificates and tokens again, each by itself: an error in one doesn't stop the other."""
        done = Reloaded([], [])
        for name, load in (("certificates", self._load_certificates), ("tokens", self._load_tokens)):
            try:
                if load():
                    done.read.append(name)
            except UsageError as error:
                done.kept.append(f"{name} ({error})")
        return done

    def _load_certificates(self) -> bool:
        """Load the certificates; False where TLS is off. Raises UsageError."""
        if self._settings.tls is None:
            return False
        self._context = load_context(self._settings.tls)
        return True

    def _load_tokens(self) -> bool:
        """Load the tokens and keys; False where none are required. Raises UsageError."""
        if self._authenticator is None:
            return False
        self._authenticator.reload()
        return True
