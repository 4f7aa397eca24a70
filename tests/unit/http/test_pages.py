"""What a plain request is answered with."""

from __future__ import annotations

import pytest
import trio

from fws_pipe.http.handshake import PlainRequest
from fws_pipe.http.pages import Pages, accepts_html
from fws_pipe.http.responses import HTML, Page, Refusal, Response
from fws_pipe.http.site import Site

BROWSER = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
HERE = ("host", "chat.example:9000")


def answer(request: PlainRequest, site: Site = Site(), *, has_console: bool = True) -> Response:
    return trio.run(Pages(None, has_console=has_console).answer_to, request, site)


def get(path: str = "/", *headers: tuple[str, str], method: str = "GET") -> PlainRequest:
    return PlainRequest(method, path, "", list(headers))


def test_a_browser_gets_the_console() -> None:
    found = answer(get("/", HERE, BROWSER))
    assert isinstance(found, Page)
    assert (found.status, found.media_type) == (200, HTML)
    assert found.body is not None
    assert b"ws://chat.example:9000/" in found.body
    assert not answer(get("/", HERE, BROWSER, method="HEAD")).has_body


@pytest.mark.parametrize(
    "request_", [get("/", HERE), get("/", HERE, ("accept", "*/*")), get("/chat", HERE, BROWSER),
                 get("/", HERE, BROWSER, method="POST"), get("", HERE, BROWSER)]
)  # fmt: skip
def test_all_others_get_a_word_in_plain_text(request_: PlainRequest) -> None:
    found = answer(request_)
    assert isinstance(found, Refusal)
    assert found.status == 426
    assert "This is fws-pipe, a WebSocket server" in found.text
    assert "new WebSocket('ws://chat.example:9000/')" in found.text


def test_without_the_console_browsers_do_too() -> None:
    assert answer(get("/", HERE, BROWSER), has_console=False).status == 426


@pytest.mark.parametrize(
    ("site", "origin"),
    [
        (Site(), "ws://chat.example:9000/"),
        (Site(is_secure=True), "wss://chat.example:9000/"),
        (Site("front.example", is_secure=True), "wss://front.example/"),
        (Site("<b>front", is_secure=False), "ws://HOST:PORT/"),
    ],
)
def test_the_url_is_the_one_that_the_client_has_connected_to(site: Site, origin: str) -> None:
    console, words = answer(get("/", HERE, BROWSER), site), answer(get("/", HERE), site)
    assert isinstance(console, Page)
    assert isinstance(words, Refusal)
    assert origin.encode() in (console.body or b"")
    assert origin in words.text


@pytest.mark.parametrize("host", ["<b>\xe9\x1b", "a b", ""])
def test_no_byte_of_a_client_is_quoted_as_it_came(host: str) -> None:
    for found in (answer(get("/", ("host", host), BROWSER)), answer(get("/", ("host", host)))):
        assert isinstance(found, Page | Refusal)
        assert b"ws://HOST:PORT/" in found.encode()


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        ("text/html", True),
        ("TEXT/HTML;q=0.1", True),
        ("a/b, application/xhtml+xml ; q=1", True),
        ("text/html;level=1", True),
        ("text/html;q=0", False),
        ("text/html; q=0.00", False),
        ("text/html;q=0.05", True),
        ("text/htmlx", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_who_asks_for_html(value: str, accepted: bool) -> None:
    assert accepts_html({"accept": value}) is accepted
