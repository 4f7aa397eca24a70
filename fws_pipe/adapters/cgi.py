"""The request of a client as its program's environment, with the variables of CGI (RFC 3875) as websocketd sets them.

- A header becomes `HTTP_NAME`; the values of a repeated header are joined by ", ". Values have no NUL and no newline.
- Three kinds of headers are left out: `Proxy`, since many programs take HTTP_PROXY for the proxy that they must use
  (CVE-2016-5385, "httpoxy"); a name with an underscore, which could forge another header (`X_User` for `X-User`); and
  Host, which is in SERVER_NAME and SERVER_PORT.
- Programs inherit none of these variables, and none that mark a process as a stage, from the server's own environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from fws_pipe import __version__

_EMPTY = ("AUTH_TYPE", "CONTENT_LENGTH", "CONTENT_TYPE", "REMOTE_IDENT", "REMOTE_USER")
"""Variables of CGI that a WebSocket connection has no value for; websocketd sets them to empty strings, too."""

_REPLACED = frozenset(
    {*_EMPTY, "SERVER_SOFTWARE", "GATEWAY_INTERFACE", "SERVER_PROTOCOL", "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO",
     "PATH_TRANSLATED", "QUERY_STRING", "REQUEST_URI", "REMOTE_ADDR", "REMOTE_HOST", "REMOTE_PORT", "SERVER_NAME",
     "SERVER_PORT", "UNIQUE_ID", "FWS_ID", "HTTPS", "FWS_STAGE", "FWS_SINK_PIPE", "FWS_READS_FROM"}
)  # fmt: skip

_NO_VALUE = re.compile("[\0\r\n]")
_NAME = re.compile("[-a-z0-9]+")


def without_requests(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without the variables of a request or of a stage."""
    return {name: environment[name] for name in environment if name not in _REPLACED and not name.startswith("HTTP_")}


def request_environment(opened: Mapping[str, Any]) -> dict[str, str]:
    """The variables for the request in an `open` event."""
    path, query = str(opened.get("path", "/")), str(opened.get("query", ""))
    headers = _headers_of(opened)
    host, port = _split_host(", ".join(headers.get("host", [])), "443" if opened.get("tls") else "80")
    address, remote_port = _remote_of(opened)
    variables = {
        **dict.fromkeys(_EMPTY, ""),
        "SERVER_SOFTWARE": f"fws-pipe/{__version__}",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/",
        "PATH_INFO": _decoded(path),
        "PATH_TRANSLATED": _decoded(path),
        "QUERY_STRING": query,
        "REQUEST_URI": f"{path}?{query}" if query else path,
        "REMOTE_ADDR": address,
        "REMOTE_HOST": address,
        "REMOTE_PORT": remote_port,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "UNIQUE_ID": str(opened["id"]),
        "FWS_ID": str(opened["id"]),
        **({"HTTPS": "on"} if opened.get("tls") else {}),
        **{f"HTTP_{name.upper().replace('-', '_')}": ", ".join(values) for name, values in _passed(headers)},
    }
    return {name: _value(text) for name, text in variables.items()}


def _headers_of(opened: Mapping[str, Any]) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in opened.get("headers", ()):
        headers.setdefault(str(name).lower(), []).append(str(value).strip())
    return headers


def _passed(headers: Mapping[str, list[str]]) -> list[tuple[str, list[str]]]:
    return [(name, headers[name]) for name in headers if name not in ("host", "proxy") and _NAME.fullmatch(name)]


def _split_host(host: str, default_port: str) -> tuple[str, str]:
    """Host and port in a Host header (RFC 9110, section 7.2); an IPv6 address loses its brackets if there is a port."""
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        return host, default_port
    return name.removeprefix("[").removesuffix("]"), port


def _remote_of(opened: Mapping[str, Any]) -> tuple[str, str]:
    host, port = opened.get("remote") or ("", 0)
    return str(host), str(port)


def _decoded(path: str) -> str:
    return unquote_to_bytes(_bytes_of(path)).decode("latin-1")


def _bytes_of(text: str) -> bytes:
    """The bytes of the request, which the front has decoded as Latin-1."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:  # a filter has changed the event
        return text.encode(errors="replace")


def _value(text: str) -> str:
    return os.fsdecode(_bytes_of(_NO_VALUE.sub(" ", text).strip()))
