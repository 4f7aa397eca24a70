"""What HTTP responses look like on the wire."""

from __future__ import annotations

import pytest

from fws_pipe.http.responses import HTML, FileResponse, Page, Refusal, encode_head, for_method


class NoContent:
    """A file that no test reads."""

    async def read(self, offset: int, size: int) -> bytes:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


def test_a_refusal_is_plain_text() -> None:
    head, body = Refusal(403, "No.", (("X-Own", "1"),)).encode().split(b"\r\n\r\n")
    assert head.decode().split("\r\n") == [
        "HTTP/1.1 403 Forbidden",
        "Content-Length: 4",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        "Content-Type: text/plain; charset=utf-8",
        "X-Own: 1",
    ]
    assert body == b"No.\n"


def test_a_page_has_its_own_type_and_bytes() -> None:
    head, body = Page(200, b"<p>\xff", HTML).encode().split(b"\r\n\r\n")
    assert b"\r\nContent-Type: text/html; charset=utf-8" in head
    assert b"\r\nContent-Length: 4\r\n" in head
    assert body == b"<p>\xff"


@pytest.mark.parametrize("response", [Refusal(404, "No."), Page(200, b"yes"), FileResponse(200, NoContent(), 0, 7)])
def test_the_answer_to_head_only_tells_the_length(response: Refusal | Page | FileResponse) -> None:
    assert for_method("GET", response) is response
    bare = for_method("HEAD", response)
    assert not bare.has_body
    head = bare.encode_head() if isinstance(bare, FileResponse) else bare.encode()
    assert head.endswith(b"\r\n\r\n")
    length = 7 if isinstance(response, FileResponse) else len(response.encode().split(b"\r\n\r\n")[1])
    assert b"Content-Length: %d\r\n" % length in head


def test_a_status_without_a_body_names_no_length() -> None:
    assert b"Content-Length" not in encode_head(304, (), None)
