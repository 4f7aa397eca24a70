"""fws-otlp: where its spans go."""

from __future__ import annotations

import pytest

from fws_pipe.cli.fws_otlp import collector_of
from fws_pipe.errors import UsageError


@pytest.mark.parametrize(
    "endpoint", ["", "localhost:4318", "ftp://h", "http://", "http://[::1", "http://h:x", "http://h:99999"]
)
def test_what_is_no_collector_is_said_in_one_line(endpoint: str) -> None:
    with pytest.raises(UsageError, match="--endpoint: expected a URL such as"):
        collector_of(endpoint, {})
