"""Media types are the same on every machine."""

from __future__ import annotations

import pytest

from fws_pipe.http.media_types import media_type_of


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        (b"index.html", "text/html; charset=utf-8"),
        (b"app.js", "text/javascript; charset=utf-8"),
        (b"APP.MJS", "text/javascript; charset=utf-8"),
        (b"style.css", "text/css; charset=utf-8"),
        (b"data.json", "application/json; charset=utf-8"),
        (b"logo.svg", "image/svg+xml; charset=utf-8"),
        (b"module.wasm", "application/wasm"),
        (b"font.woff2", "font/woff2"),
        (b"picture.webp", "image/webp"),
        (b"picture.png", "image/png"),
        (b"all.tar.gz", "application/gzip"),
        (b"page.html.xz", "application/x-xz"),
        (b"old.Z", "application/octet-stream"),
        (b"data:text", "application/octet-stream"),
        (b"data:text%2Fhtml,x", "application/octet-stream"),
        (b"Makefile", "application/octet-stream"),
        (b"\xff\xfe.png", "image/png"),
    ],
)
def test_media_types(name: bytes, media_type: str) -> None:
    assert media_type_of(name) == media_type
