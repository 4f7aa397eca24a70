"""Quotas: bound the number of clients, in all and from one address. No I/O."""

from __future__ import annotations

from collections import Counter

from fws_pipe.admission.proxies import UNIX, group_of
from fws_pipe.http.handshake import FULL, full_for_address
from fws_pipe.http.responses import Refusal


class ClientQuota:
    """Counts clients: there may be `in_all`, and `per_address` of one address (proxies.group_of). 0: any number."""

    def __init__(self, in_all: int, per_address: int) -> None:
        self._in_all = in_all
        self._per_address = per_address
        self._count = 0
        self._by_address: Counter[str] = Counter()

    def refusal_for(self, host: str) -> Refusal | None:
        """The refusal of one more client from this address; None: it may come in."""
        if 0 < self._in_all <= self._count:
            return FULL
        if 0 < self._per_address <= self._by_address[group_of(host)] and host != UNIX:
            return full_for_address(self._per_address)
        return None

    def add(self, host: str) -> None:
        """Count one more client from this address."""
        self._count += 1
        self._by_address[group_of(host)] += 1

    def remove(self, host: str) -> None:
        """Count one client less from this address."""
        self._count -= 1
        group = group_of(host)
        self._by_address[group] -= 1
        if not self._by_address[group]:
            del self._by_address[group]
