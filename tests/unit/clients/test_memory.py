"""Who is closed when all clients together hold too much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.clients.memory import greediest


@given(st.dictionaries(st.integers(), st.integers(0, 1000)), st.integers(0, 5000))
def test_as_few_as_possible_go_and_the_rest_is_within_the_limit(holdings: dict[int, int], limit: int) -> None:
    gone = greediest(holdings.items(), limit)
    left = [size for holder, size in holdings.items() if holder not in gone]
    assert sum(left) <= limit
    if gone:
        smallest = min(holdings[holder] for holder in gone)
        assert sum(left) + smallest > limit
        assert all(size <= smallest for size in left)
