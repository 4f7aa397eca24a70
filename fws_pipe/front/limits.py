"""The limits for clients: the front's settings."""

from __future__ import annotations

from dataclasses import dataclass

from fws_pipe.websocket.meter import Pace


@dataclass(frozen=True)
class Limits:
    """The limits; sizes in bytes, times in seconds, 0 is off."""

    max_message: int
    max_clients: int
    outbox: int
    ping_interval: float
    ping_timeout: float
    max_clients_per_address: int = 0
    max_handshakes: int = 0
    max_downloads: int = 0
    max_header: int = 16 * 1024
    handshake_timeout: float = 10.0
    max_fragments: int = 65536
    message_timeout: float = 0.0
    memory: int = 0
    idle_timeout: float = 0.0
    pace: Pace = Pace()
