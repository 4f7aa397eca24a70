"""The console's document and its policy; tests/e2e/test_console.py shows it in a browser."""

from __future__ import annotations

import base64
import hashlib
import re

from fws_pipe.http.console import console_page


def parts() -> tuple[str, dict[str, str]]:
    page = console_page("wss://chat.example")
    assert page.body is not None
    return page.body.decode(), dict(page.headers)


def test_it_names_its_server() -> None:
    document, _ = parts()
    assert "<code>wss://chat.example/</code>" in document
    assert "{{" not in document
    assert "/* console." not in document


def test_the_policy_allows_its_own_style_and_script_and_nothing_else() -> None:
    document, headers = parts()
    for element in ("style", "script"):
        [text] = re.findall(f"<{element}>(.*?)</{element}>", document, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}';" in headers["Content-Security-Policy"]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert "unsafe" not in headers["Content-Security-Policy"]


def test_it_names_nothing_of_another_origin() -> None:
    document, _ = parts()
    assert re.findall(r"""(?:src|href|action)=["'][^"']*""", document) == ['href="data:,']
    assert "//" not in re.sub(r"(?m)^//.*|wss://chat.example", "", document)
