"""The answer to a plain request, one for no WebSocket: a file of --page, the console, or a word on what this is.

Only `/` has the console, and only for a client that asks for HTML, as browsers do: curl and others get plain text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fws_pipe.http.console import console_page
from fws_pipe.http.handshake import PlainRequest, is_authority
from fws_pipe.http.page_folder import PageFolder
from fws_pipe.http.responses import Refusal, Response, for_method
from fws_pipe.http.site import Site


class Pages:
    """Answers plain requests from a folder, if there is one, or else with the console, if that is on."""

    def __init__(self, folder: PageFolder | None, *, has_console: bool) -> None:
        self._folder = folder
        self._has_console = has_console

    async def answer_to(self, request: PlainRequest, site: Site) -> Response:
        """The answer to a request of a client that has connected to this site."""
        return for_method(request.method, await self._answer(request, site))

    async def _answer(self, request: PlainRequest, site: Site) -> Response:
        if self._folder is not None:
            return await self._folder.answer_to(request)
        if self._has_console and request.path == "/" and request.is_read and accepts_html(request.fields):
            return console_page(_origin_of(request, site))
        return _websocket_only(_origin_of(request, site))


def accepts_html(fields: Mapping[str, str]) -> bool:
    """Whether a client names HTML among the types that it accepts (RFC 9110, section 12.5.1): `*/*` doesn't."""
    accepted = fields.get("accept", "").lower().split(",")
    return any(_HTML_ACCEPTED.fullmatch(entry.strip()) for entry in accepted)


_HTML_ACCEPTED = re.compile(r"(?:text/html|application/xhtml\+xml)\s*(?:;(?!\s*q\s*=\s*0(?:\.0*)?\s*(?:;|$)).*)?")


def _origin_of(request: PlainRequest, site: Site) -> str:
    """The server's ws:// or wss:// URL without a path, as the client would write it."""
    host = site.host or request.fields.get("host", "")
    return f"{'wss' if site.is_secure else 'ws'}://{host if is_authority(host) else 'HOST:PORT'}"


def _websocket_only(origin: str) -> Refusal:
    return Refusal(
        426,
        "This is fws-pipe, a WebSocket server. It speaks WebSocket only.\n"
        f"Connect a WebSocket client to {origin}/ - in a browser: new WebSocket('{origin}/')",
        reason="this is no WebSocket handshake",
    )
