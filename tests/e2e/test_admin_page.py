"""The live page of the admin address, in a real Chromium."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

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


def test_the_live_page(server: Server) -> None:
    """One browser for all: clients come, messages pass, a client is closed, the chain is reloaded."""
    url = f"http://127.0.0.1:{port_of(server)}/"
    with open_browser() as browser, connect(server.url) as client:
        for size, scheme in itertools.product(SIZES, SCHEMES):
            with open_page(browser, url, size, scheme) as page:
                page.get_by_text("ready", exact=True).wait_for()
                page.get_by_text('stage 1 "broadcast"').wait_for()
                page.get_by_role("cell", name="127.0.0.1").wait_for()
                check_accessible(page)
                check_fits(page)
        with open_page(browser, url) as page:
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
