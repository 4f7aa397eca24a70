"""Events with a wrong field, which a stage before has written: they are named, and pass on unhandled."""

from __future__ import annotations

from fws_pipe.pipes.blocks import input_source, say
from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.events import check_event


class EventFaults:
    """Says on stderr what is wrong with events, once for each field of a type."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def is_sound(self, event: Frame, kind: str) -> bool:
        """Whether all fields of an event of type `kind` are valid, so that it may be handled."""
        fault = check_event(event, kind)
        if fault is None:
            return True
        field = fault.partition(":")[0]
        if field not in self._told:
            self._told.add(field)
            say(f"frame from {input_source()}: {fault}; such events pass on unhandled")
        return False
