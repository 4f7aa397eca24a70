"""The live page of the admin address, in a real Chromium."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.browser import NO_CHROMIUM, SCHEMES, SIZES, check_accessible, check_fits, open_browser, open_page
from tests.e2e.test_admin import port_of
from tests.harness import PATIENCE_S, Server, Servers

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(NO_CHROMIUM), reason=NO_CHROMIUM)]  # a browser's start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Servers(tmp_path_factory.mktemp("page")) as servers:
        server = servers.start("--admin", ":0", "--admin-actions", "broadcast | mirror | tee /dev/null | cat")
        assert server.url
        yield server


def show_a_frame(page: Page, client: ClientConnection) -> None:
    """Let a message pass a tap that is open, and see it on the page."""
    client.send("hello, tap")
    assert client.recv(PATIENCE_S) == "hello, tap"
    page.get_by_role("group", name="frames").get_by_text("hello, tap").first.wait_for()


def test_the_live_page(server: Server) -> None:
    """One browser for all: clients come, messages pass, a client is closed, the chain is reloaded."""
    url = f"http://127.0.0.1:{port_of(server)}/"
    with open_browser() as browser, connect(server.url) as client:
        for size, scheme in itertools.product(SIZES, SCHEMES):
            with open_page(browser, url, size, scheme) as page:
                page.get_by_text("ready", exact=True).wait_for()
                page.locator(".stage strong", has_text='stage 1 "broadcast"').wait_for()
                page.get_by_role("cell", name="127.0.0.1").wait_for()
                page.get_by_role("log").get_by_text("the admin address is").wait_for()
                page.get_by_label("type", exact=True).fill("message")
                page.get_by_role("button", name="Open the tap").click()
                page.get_by_text("tapping behind front").wait_for()
                show_a_frame(page, client)
                check_accessible(page)
                check_fits(page)
        with open_page(browser, url) as page:
            page.get_by_label("behind").select_option('stage 1 "broadcast"')
            page.get_by_label("type", exact=True).fill("send")
            page.keyboard.press("Enter")
            page.locator(".stage strong", has_text=re.compile("^tap$")).wait_for()
            show_a_frame(page, client)
            assert page.get_by_role("group", name="frames").get_by_text('"message"').count() == 0
            page.get_by_role("button", name="Close the tap").press("Enter")
            page.get_by_text("the tap is closed").wait_for()
            page.locator(".stage strong", has_text=re.compile("^tap$")).wait_for(state="detached")
            page.get_by_role("button", name="Reload the chain").click()
            page.get_by_text("the new chain serves").wait_for()
            for number in range(100):
                client.send(f"{number}")
            page.locator("dt:has-text('events/s') + dd").first.wait_for()
            page.get_by_role("button", name="Close client").focus()
            page.keyboard.press("Enter")
            page.get_by_text("is being closed").wait_for()
            for _ in range(100):
                client.recv(PATIENCE_S)
            with pytest.raises(ConnectionClosed):
                client.recv(PATIENCE_S)
            page.get_by_text("0 connected").wait_for()
