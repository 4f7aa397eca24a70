"""Which of the frames that pass a tap are shown, and how: one JSON object a line. No I/O."""

from __future__ import annotations

import json
from typing import Any

from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.json_form import to_json

MOST_A_SECOND = 50
"""How many frames are shown in a second: people can't read more, and the rest is only counted."""

MOST_BYTES = 16 * 1024
"""The largest frame that is shown whole; of a larger one only type, client and size are."""

_CLIENT_BYTES = 1024


def line_of(**fields: Any) -> bytes:
    """A line that tells of the tap itself."""
    return json.dumps(fields).encode() + b"\n"


class ShownFrames:
    """Chooses frames by type and client (empty: all), and counts those that are not shown for lack of time."""

    def __init__(self, kind: str, client: str) -> None:
        self._kind = kind
        self._client = client
        self._left = MOST_A_SECOND
        self._skipped = 0

    def fits(self, frame: Frame) -> bool:
        """Whether it is of the type and of the client, which an event names as `id` and an action as `to` or `id`."""
        return (not self._kind or frame.get("type") == self._kind) and (not self._client or self._names_client(frame))

    def _names_client(self, frame: Frame) -> bool:
        to = frame.get("to")
        return self._client in (frame.get("id"), to) or (isinstance(to, list) and self._client in to)

    def may_show(self) -> bool:
        """Whether one more frame may be shown in this second; otherwise it is counted."""
        if self._left:
            self._left -= 1
            return True
        self._skipped += 1
        return False

    def begin_second(self) -> bytes:
        """Begin the next second; returns a line with the frames that were skipped in the last one, if any were."""
        skipped, self._skipped, self._left = self._skipped, 0, MOST_A_SECOND
        return line_of(skipped=skipped) if skipped else b""


def shown(frame: Frame, raw: bytes) -> bytes:
    """The line of one frame; `raw` is its msgpack form."""
    if len(raw) > MOST_BYTES:
        client = frame.get("id", frame.get("to"))
        short = {"type": frame.get("type"), "id": client}
        return line_of(
            large={
                name: value for name, value in short.items() if isinstance(value, str) and len(value) < _CLIENT_BYTES
            },
            bytes=len(raw),
        )
    return b'{"frame":' + to_json(frame, raw).rstrip(b"\n") + b"}\n"
