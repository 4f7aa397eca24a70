"""The ways in which clients are read. No I/O."""

from __future__ import annotations

import enum


class Intake(enum.StrEnum):
    """How the clients are read (--intake): each way gives the same events and the same replies."""

    EPOLL = "epoll"
    """All plain connections in one epoll object."""
    TASKS = "tasks"
    """A task for each connection, as where there is no epoll."""
    LIBRARY = "library"
    """A task for each connection, and every frame through trio-websocket."""
