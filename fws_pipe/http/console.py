"""The console: a page that says what this server is, and is a WebSocket client for people. No I/O after the import.

One document with its style and script inside, whose hashes are all that its Content-Security-Policy allows: the page
loads nothing, and connects to this server alone.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files

from fws_pipe.http.responses import HTML, Page

_PARTS = files("fws_pipe.http") / "console_page"
_STYLE = (_PARTS / "console.css").read_text("utf-8")
_SCRIPT = (_PARTS / "console.js").read_text("utf-8")
_TEMPLATE = (_PARTS / "console.html").read_text("utf-8")
_DOCUMENT = _TEMPLATE.replace("/* console.css */", _STYLE).replace("/* console.js */", _SCRIPT)


def _hash(text: str) -> str:
    """A source expression that allows just this text within its element (CSP Level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src {_hash(_SCRIPT)}",
        f"style-src {_hash(_STYLE)}",
        "connect-src 'self'",
        "img-src data:",  # the empty icon, so that browsers ask for none
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
    ("Vary", "Accept"),
)


def console_page(origin: str) -> Page:
    """The page of a server at this URL without a path, such as ws://localhost:9000."""
    return Page(200, _DOCUMENT.replace("{{origin}}", escape(origin)).encode(), HTML, _HEADERS)
