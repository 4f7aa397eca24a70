"""Whether the next message comes so soon that it isn't worth falling asleep for. No I/O.

To sleep and be woken takes 15 us and more on each of the five legs of a round trip, and a process that has slept finds
its caches cold. A virtual machine's idle loop knows the remedy (halt polling): look again and again for a while, if
lately that would have been enough. Here that is so while one message at a time is under way, and every wait is short.
"""

from __future__ import annotations

AWAKE_S = 0.000_15
"""How long to look before falling asleep: a message's way through a short chain, or a client's answer to its reply."""

_SHORT_WAITS = 4
"""How many in a row are a conversation: two messages and their answers. It ends with the first wait that is long, so
what is looked for in vain is at most AWAKE_S for every two messages that came in quick succession.
"""


class BusyPolling:
    """Follows how long the last waits have taken."""

    def __init__(self) -> None:
        self._short_waits = 0

    @property
    def is_quick(self) -> bool:
        """Whether the next wait is expected to be short."""
        return self._short_waits >= _SHORT_WAITS

    def note(self, waited_s: float) -> None:
        """A wait is over."""
        self._short_waits = self._short_waits + 1 if waited_s < AWAKE_S else 0

    def interrupt(self) -> None:
        """Several messages are under way at once: leave the processor to the filters that work on them."""
        self._short_waits = 0
