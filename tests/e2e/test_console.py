"""The console, and pages, in a real Chromium. Slow: a browser takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FilePayload, Page

from tests.browser import NO_CHROMIUM, SCHEMES, SIZES, check_accessible, check_fits, open_browser, open_page
from tests.e2e.authority import Authority
from tests.harness import Server, Servers

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(NO_CHROMIUM), reason=NO_CHROMIUM)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Servers(tmp_path_factory.mktemp("console")) as servers:
        closing = servers.script(
            "closing",
            "#!/usr/bin/env fws-python\nfrom fws_pipe.sdk import close, on, run\n\n\n"
            "@on('message')\ndef end(event):\n    yield close(event['id'], 4001, 'enough')\n\n\nrun()\n",
        )
        yield servers.start(
            "--origin", "same", "--subprotocol", "chat", "--route", "/=mirror", "--route", f"/closing={closing}"
        )


def page_url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}/"


def connect(page: Page) -> None:
    page.get_by_role("button", name="Connect").click()
    page.wait_for_selector("#status.open")


def send(page: Page, text: str) -> None:
    page.get_by_label("Text").fill(text)
    page.get_by_label("Text").press("Enter")


def shown(page: Page, count: int) -> list[str]:
    """The lines of the log without their times, once there are so many."""
    page.locator("#log > div").nth(count - 1).wait_for()  # a wait for an expression would break the policy
    lines = page.locator("#log > div").all_inner_texts()
    return [" ".join(line.split()[1:]) for line in lines]


def test_a_conversation(browser: Browser, server: Server) -> None:
    with open_page(browser, page_url(server)) as page:
        assert page.locator("header code").inner_text() == f"ws://127.0.0.1:{server.port}/"
        page.get_by_label("Subprotocols").fill("other, chat")
        connect(page)
        assert "subprotocol chat" in page.locator("#status").inner_text()
        send(page, "<b>hello</b>")
        assert shown(page, 3)[1:] == ["sent <b>hello</b>", "received <b>hello</b>"]
        page.get_by_role("button", name="Disconnect").click()
        assert shown(page, 4)[3] == "closed code 1000"
        page.get_by_role("button", name="Clear").click()
        assert page.locator("#log > div").count() == 0


def test_files_are_sent_as_binary(browser: Browser, server: Server) -> None:
    with open_page(browser, page_url(server)) as page:
        connect(page)
        four = FilePayload(name="four.bin", mimeType="application/octet-stream", buffer=b"\x00\x01\xfe\xff")
        page.set_input_files("#files", [four])
        assert shown(page, 3)[1:] == [
            "sent, file four.bin, 4 bytes: 00 01 fe ff",
            "received, binary 4 bytes: 00 01 fe ff",
        ]


def test_arrow_keys_recall_what_was_sent(browser: Browser, server: Server) -> None:
    with open_page(browser, page_url(server)) as page:
        connect(page)
        for text in ("one", "two"):
            send(page, text)
        box = page.get_by_label("Text")
        box.fill("draft")
        recalled = []
        for key in ("ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown", "ArrowDown", "ArrowDown"):
            box.press(key)
            recalled.append(box.input_value())
        assert recalled == ["two", "one", "one", "two", "draft", "draft"]
        box.fill("a")
        box.press("Shift+Enter")
        box.press("b")
        assert box.input_value() == "a\nb"


def test_close_codes_and_paths(browser: Browser, server: Server) -> None:
    with open_page(browser, page_url(server)) as page:
        page.get_by_label("Path").fill("/closing")
        connect(page)
        send(page, "x")
        page.wait_for_selector("text=Closed: code 4001")
        assert shown(page, 3)[2] == 'closed code 4001, "enough"'
        page.get_by_label("Path").fill("//elsewhere.example/")
        page.get_by_role("button", name="Connect").click()
        page.wait_for_selector("text=this page may connect to its own server only")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_fits_and_axe_finds_nothing(browser: Browser, server: Server, size: str, scheme: str) -> None:
    with open_page(browser, page_url(server), size, scheme) as page:
        check_accessible(page)
        connect(page)
        send(page, "a long message " * 40 + "x" * 500)
        shown(page, 3)
        check_accessible(page)
        check_fits(page)


def test_all_can_be_done_with_the_keyboard(browser: Browser, server: Server) -> None:
    with open_page(browser, page_url(server)) as page:
        page.get_by_label("Path").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#status.open")
        page.keyboard.type("typed")  # the focus has moved to the text
        page.keyboard.press("Enter")
        shown(page, 3)
        stops = []
        for _ in range(2):
            page.keyboard.press("Tab")
            stops.append(page.evaluate("document.activeElement.id"))
        assert stops == ["send", "choose"]
        for _ in range(3):
            page.keyboard.press("Shift+Tab")
        assert page.evaluate("document.activeElement.id") == "log"  # so that arrow keys can move it


def test_over_tls_it_is_wss(browser: Browser, servers: Servers) -> None:
    authority = Authority(servers.folder)
    server = servers.start(*authority.issue(), "--origin", "same", "mirror")
    with open_page(browser, f"https://127.0.0.1:{server.port}/") as page:
        assert page.locator("header code").inner_text() == f"wss://127.0.0.1:{server.port}/"
        connect(page)


def test_a_page_of_a_folder_and_its_websocket_share_their_origin_and_cookies(
    browser: Browser, servers: Servers
) -> None:
    folder = servers.folder / "www"
    folder.mkdir()
    names = [f"part{number}" for number in range(30)]
    for name in names:
        (folder / f"{name}.js").write_text(f"document.body.append('{name} ');\n")
    scripts = "".join(f'<script src="{name}.js"></script>' for name in names)
    (folder / "index.html").write_text(
        f'<!doctype html><link rel="icon" href="data:,"><body>{scripts}<p id="said"></p><script src="chat.js"></script>'
    )
    (folder / "chat.js").write_text(
        "document.cookie = 'token=s3cret';\n"
        "const ws = new WebSocket(`ws://${location.host}/`);\n"
        "ws.onopen = () => ws.send('hello');\n"
        "ws.onmessage = event => { said.textContent = event.data; };\n"
    )
    (servers.folder / "tokens").write_text("s3cret\n")
    server = servers.start("--page", "www", "--origin", "same", "--auth-tokens", "tokens", "mirror")
    with open_page(browser, page_url(server)) as page:
        page.wait_for_selector("text=hello")
        assert page.inner_text("body").split()[:30] == names


def test_two_people_chat_in_the_page_of_the_quickstart(browser: Browser, servers: Servers) -> None:
    (servers.folder / "www").mkdir()
    page = (
        (Path(__file__).resolve().parent.parent.parent / "README.md").read_text().split("```html\n")[1].split("```")[0]
    )
    (servers.folder / "www" / "index.html").write_text(
        page.replace("<title>", '<link rel="icon" href="data:,"><title>')
    )
    server = servers.start("--page", "www", "broadcast | stdout_log")
    with open_page(browser, page_url(server)) as alice, open_page(browser, page_url(server)) as bob:
        server.stdout.wait_for("open", 2)
        alice.fill("#line", "hello")
        alice.press("#line", "Enter")
        bob.wait_for_selector("text=hello")
