"""The environment of CGI: what websocketd gives, and nothing that a client could misuse."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.adapters.cgi import request_environment, without_requests


def opened(**fields: Any) -> dict[str, Any]:
    return {
        "type": "open", "id": "a-1", "path": "/chat", "query": "x=1", "headers": [["host", "example.org:8080"]],
        "remote": ["192.0.2.1", 4711], "tls": None, **fields,
    }  # fmt: skip


def test_a_request() -> None:
    variables = request_environment(opened(headers=[["host", "example.org:8080"], ["user-agent", "x"]]))
    assert variables.pop("SERVER_SOFTWARE").startswith("fws-pipe/")
    assert variables == {
        "AUTH_TYPE": "", "CONTENT_LENGTH": "", "CONTENT_TYPE": "", "REMOTE_IDENT": "", "REMOTE_USER": "",
        "GATEWAY_INTERFACE": "CGI/1.1", "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_METHOD": "GET", "SCRIPT_NAME": "/",
        "PATH_INFO": "/chat", "PATH_TRANSLATED": "/chat", "QUERY_STRING": "x=1", "REQUEST_URI": "/chat?x=1",
        "REMOTE_ADDR": "192.0.2.1", "REMOTE_HOST": "192.0.2.1", "REMOTE_PORT": "4711", "SERVER_NAME": "example.org",
        "SERVER_PORT": "8080", "UNIQUE_ID": "a-1", "FWS_ID": "a-1", "HTTP_USER_AGENT": "x",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tls": {"version": "TLSv1.3"}}, {"HTTPS": "on"}),
        ({"tls": {}, "headers": [["host", "h"]]}, {"SERVER_NAME": "h", "SERVER_PORT": "80"}),
        ({"tls": {"version": "x"}, "headers": [["host", "h"]]}, {"SERVER_NAME": "h", "SERVER_PORT": "443"}),
        ({"headers": [["host", "[::1]:80"]]}, {"SERVER_NAME": "::1", "SERVER_PORT": "80"}),
        ({"headers": [["host", "[::1]"]]}, {"SERVER_NAME": "[::1]", "SERVER_PORT": "80"}),
        ({"headers": []}, {"SERVER_NAME": "", "SERVER_PORT": "80"}),
        ({"query": ""}, {"REQUEST_URI": "/chat", "QUERY_STRING": ""}),
        ({"path": "/a%20b%0A%00c"}, {"PATH_INFO": "/a b  c", "REQUEST_URI": "/a%20b%0A%00c?x=1"}),
        ({"path": "/%C3%A9/\u00e9"}, {"PATH_INFO": "/é/\udce9"}),
        ({"path": "/\u20ac"}, {"PATH_INFO": "/€"}),
        ({"headers": [["cookie", "a=1"], ["Cookie", " b=2 "]]}, {"HTTP_COOKIE": "a=1, b=2"}),
        ({"headers": [["x-odd", "a\nb\0c"]]}, {"HTTP_X_ODD": "a b c"}),
        ({"remote": None}, {"REMOTE_ADDR": "", "REMOTE_PORT": "0"}),
    ],
)
def test_what_differs(fields: dict[str, Any], expected: dict[str, str]) -> None:
    variables = request_environment(opened(**fields))
    assert {name: variables[name] for name in expected} == expected


def test_what_is_never_there() -> None:
    headers = [["proxy", "http://evil"], ["Proxy", "http://evil"], ["x_user", "root"], ["host", "h"], ["a=b", "c"]]
    variables = request_environment(opened(headers=headers))
    assert not [name for name in variables if name.startswith("HTTP_")]
    assert "HTTPS" not in variables


def test_nothing_of_a_request_is_inherited() -> None:
    kept = {"PATH": "/bin", "FWS_STDOUT_FD": "3", "http_proxy": "http://ours"}
    others = {"HTTP_PROXY": "x", "HTTPS": "on", "REMOTE_USER": "root", "FWS_STAGE": "stage 1", "FWS_ID": "x"}
    assert without_requests({**kept, **others}) == kept


@given(st.text(), st.text(), st.lists(st.tuples(st.text(), st.text()), max_size=4))
def test_whatever_a_client_sends_can_be_an_environment(path: str, query: str, headers: list[tuple[str, str]]) -> None:
    event = opened(path=path, query=query, headers=[*headers, ("x-one", path)])
    for name, value in request_environment(event).items():
        assert name.replace("_", "").isalnum()
        assert b"\0" not in os.fsencode(value)
        assert b"\n" not in os.fsencode(value)
