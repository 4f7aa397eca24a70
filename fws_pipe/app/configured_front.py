"""Makes the front that the configuration asks for."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import trio

from fws_pipe.admission.entrance import Entrance, EntranceSettings
from fws_pipe.admission.tokens import AuthSettings
from fws_pipe.config.options import Config
from fws_pipe.errors import UsageError
from fws_pipe.front.front import Front
from fws_pipe.front.limits import Limits
from fws_pipe.http.page_folder import PageFolder
from fws_pipe.http.pages import Pages
from fws_pipe.ledger.link import LinkLimits
from fws_pipe.log import Log, Subject
from fws_pipe.websocket.meter import Pace
from fws_pipe.websocket.tls import TlsFiles


@contextlib.asynccontextmanager
async def configured_front(config: Config, name: str, log: Log, *, checks_actions: bool) -> AsyncIterator[Front]:
    """Make a front, with the nursery for its tasks. Raises UsageError for options that contradict each other."""
    limits = Limits(
        max_message=config.max_message,
        max_clients=config.max_clients,
        outbox=config.outbox_limit,
        ping_interval=config.ping_interval,
        ping_timeout=config.ping_timeout,
        max_clients_per_address=config.max_clients_per_address,
        max_handshakes=config.max_handshakes,
        max_downloads=config.max_downloads,
        max_header=config.max_header,
        handshake_timeout=config.handshake_timeout,
        max_fragments=config.max_fragments,
        message_timeout=config.message_timeout,
        memory=config.memory_limit,
        idle_timeout=config.idle_timeout,
        pace=Pace(config.rate, config.rate_bytes, config.rate_policy),
    )
    link_limits = LinkLimits(
        journal=config.journal_limit,
        stall_timeout=config.stall_timeout,
        max_groups=config.max_groups,
        slow_client=config.slow_client,
        quarantine=config.quarantine,
        checks_actions=checks_actions,
    )
    entrance = Entrance(_entrance_settings(config))
    pages = Pages(PageFolder(config.page, log) if config.page else None, has_console=config.console)
    async with trio.open_nursery() as connections:
        yield Front(
            limits,
            link_limits,
            log.about(Subject.FRONT),
            name,
            entrance,
            connections,
            intake=config.intake,
            pages=pages,
        )
        connections.cancel_scope.cancel()


def _entrance_settings(config: Config) -> EntranceSettings:
    if config.cert is None and (config.key or config.client_ca):
        raise UsageError(f"--{'key' if config.key else 'client-ca'} needs --cert")
    if config.proxy_protocol and not config.trusted_proxy:
        raise UsageError("--proxy-protocol needs --trusted-proxy with the proxy's address, such as 10.0.0.0/8")
    tls = TlsFiles(config.cert, config.key, config.client_ca) if config.cert else None
    takes_jwt = config.auth_jwt is not None or config.auth_jwt_secret is not None
    wants_token = config.auth_tokens is not None or takes_jwt
    if not takes_jwt and (config.auth_audience or config.auth_issuer):
        option = "audience" if config.auth_audience else "issuer"
        raise UsageError(f"--auth-{option} needs --auth-jwt or --auth-jwt-secret")
    auth = AuthSettings(
        tokens_file=config.auth_tokens,
        jwt_key_file=config.auth_jwt,
        jwt_secret_file=config.auth_jwt_secret,
        audience=config.auth_audience,
        issuer=config.auth_issuer,
        cookie=config.auth_cookie,
    )
    return EntranceSettings(
        tls,
        auth if wants_token else None,
        config.gate_timeout if config.gate else None,
        subprotocols=config.subprotocol,
        origins=config.origin,
        proxies=config.trusted_proxy,
        names=[name.lower() for name in config.host],
        has_proxy_protocol=config.proxy_protocol,
        health_path=config.health_path,
    )
