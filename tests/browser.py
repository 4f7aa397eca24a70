"""A real Chromium for tests, what it complains of, and axe-core's findings on a page.

Chromium is the system's (Debian: apt install chromium); playwright and axe-core come from PyPI with the extra `test`.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

NO_CHROMIUM = "" if CHROMIUM else "there is no Chromium here (Debian: apt install chromium)"
"""Why no test can show a page; empty: they can."""

SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
"""The width and height of the windows in which pages are looked at, in CSS pixels."""

SCHEMES = ("light", "dark")


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def open_page(browser: Browser, url: str, size: str = "desktop", scheme: str = "light") -> Iterator[Page]:
    """A page in a fresh profile; at the end it must have complained of nothing: no error, no broken policy.

    `size` is one of SIZES, `scheme` one of SCHEMES.
    """
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        ignore_https_errors=True,
    )
    complaints: list[str] = []
    try:
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.goto(url)
        yield page
        assert not complaints
    finally:
        context.close()


def check_accessible(page: Page) -> None:
    """Fail with axe-core's report if it finds anything on the page as it is now."""
    results = Axe().run(page)
    assert not results.violations_count, results.generate_report()


def check_fits(page: Page) -> None:
    """Fail if the page is wider than its window, so that it would have to be moved sideways."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
