"""What all tests share: a deterministic hypothesis (FWS_TEST_EXPLORE=1 lets it roam), and the server fixture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.harness import Servers

settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile("explore" if os.environ.get("FWS_TEST_EXPLORE") else "steady")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Starts servers, and sees to it that nothing of them is left."""
    with Servers(tmp_path) as started:
        yield started
