"""What a client has sent that is not dealt with yet. No I/O.

    Backlog              bytes, from the beginning of a WebSocket frame on
    FragmentedMessage    the message whose last fragment is still to come (RFC 6455, section 5.4)

A backlog is bounded by the largest message and one read: nothing is read while whole frames wait in it.
"""

from __future__ import annotations

from fws_pipe.websocket.outbox import OBJECT_BYTES


class Backlog:
    """Bytes that wait, and what the frame at their beginning waits for."""

    __slots__ = ("_blocks", "needed", "size", "wanted")

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self.size = 0
        """Bytes that wait."""
        self.needed = 1
        """Bytes that must be here before the first frame can be whole."""
        self.wanted = 1
        """How many bytes of payload need room before the first frame can be dealt with."""

    @property
    def weight(self) -> int:
        """About how much memory it takes, in bytes."""
        return self.size + len(self._blocks) * OBJECT_BYTES

    def add(self, block: bytes) -> None:
        """Append a block that has arrived."""
        self._blocks.append(block)
        self.size += len(block)

    def look(self) -> bytes:
        """All of it, in one block; nothing is removed. Resets `needed` and `wanted`: they are to be found out again."""
        self.needed = self.wanted = 1
        return self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)

    def need(self, size: int) -> None:
        """Note that the first frame of what will be kept is whole only once there are `size` bytes."""
        self.needed = size

    def want(self, size: int) -> None:
        """Note that the first frame of what will be kept is a message of `size` bytes, for which there is no room."""
        self.wanted = size

    def keep(self, rest: bytes) -> None:
        """Forget all but this."""
        self._blocks = [rest] if rest else []
        self.size = len(rest)


class FragmentedMessage:
    """A message of which only some fragments have come.

    trio-websocket puts them together; they are kept for a server that takes over the connection, which begins anew.
    """

    __slots__ = ("_frames", "fragments", "size")

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self.fragments = 0
        self.size = 0
        """Bytes of payload, without frame headers."""

    @property
    def weight(self) -> int:
        """About how much memory it takes, in bytes."""
        return 2 * (self.size + self.fragments * OBJECT_BYTES)

    @property
    def frames(self) -> bytes:
        """The fragments as they came, as WebSocket frames."""
        return b"".join(self._frames)

    def add(self, frame: bytes, size: int) -> None:
        """Add a fragment, whose payload has `size` bytes."""
        self._frames.append(frame)
        self.fragments += 1
        self.size += size
