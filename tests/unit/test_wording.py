"""Numbers in sentences."""

import pytest

from fws_pipe.wording import counted


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 events"), (1, "1 event"), (2, "2 events"), (1000, "1000 events")]
)
def test_only_one_is_singular(count: int, expected: str) -> None:
    assert counted(count, "event") == expected


def test_a_plural_can_be_given() -> None:
    assert [counted(count, "publish", "publishes") for count in (1, 2)] == ["1 publish", "2 publishes"]
