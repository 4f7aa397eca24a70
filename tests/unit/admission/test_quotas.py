"""Quotas: how many clients there may be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.admission.quotas import ClientQuota
from fws_pipe.http.handshake import FULL
from tests.strategies import hosts


def network_of(host: str) -> str:
    return host.rpartition("::")[0] or host


@given(st.integers(0, 4), st.integers(0, 3), st.lists(st.tuples(st.booleans(), hosts), max_size=40))
def test_no_more_clients_than_the_limits_allow_and_one_that_goes_makes_room(
    in_all: int, per_address: int, steps: list[tuple[bool, str]]
) -> None:
    quota = ClientQuota(in_all, per_address)
    inside: list[str] = []
    for comes, host in steps:
        if not comes and host in inside:
            inside.remove(host)
            quota.remove(host)
            continue
        refusal = quota.refusal_for(host)
        same = sum(1 for other in inside if network_of(other) == network_of(host))
        is_full = 0 < in_all <= len(inside)
        is_crowded = 0 < per_address <= same and host != "unix"
        if refusal is None:
            assert not is_full
            assert not is_crowded
            quota.add(host)
            inside.append(host)
        elif refusal is FULL:
            assert is_full
        else:
            assert refusal.status == 429
            assert str(per_address) in refusal.text
            assert is_crowded
