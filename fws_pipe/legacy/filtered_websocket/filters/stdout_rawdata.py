"""Writes each client's bytes to the server's stdout, as they arrive and before they are parsed."""

from __future__ import annotations

from typing import Any

from fws_pipe.sdk import tell
from fws_pipe.terminal import one_line

from .base import WebSocketDataFilter


class StdoutRawDataFilter(WebSocketDataFilter):
    """Prints raw data."""

    @classmethod
    def filter(cls, web_socket_instance: Any, data: Any = None) -> None:
        """Print the bytes on one line."""
        text = bytes(data).decode(errors="backslashreplace")
        tell(f"--RAWDATA--\n{one_line(text)}")
