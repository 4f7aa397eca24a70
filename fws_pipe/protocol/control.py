"""The frames of the control socket that are no actions: the requests' names, and how an answer ends. No I/O."""

from __future__ import annotations

from fws_pipe.protocol.codec import Frame

CLIENTS = "clients"
STAGES = "stages"
STATUS = "status"
RELOAD = "reload"
DRAIN = "drain"
TAP = "tap"

LONGEST_DRAIN_S = 24 * 3600.0
"""The longest time over which a drain closes the clients, in seconds."""

FRONT = "front"
SINK = "sink"
"""The two ends of a chain, as a tap names them."""

COPY = "copy"
"""From a tap stage, without an answer: `data` are frames that have passed it, `time` says when (CLOCK_MONOTONIC, in
seconds), and `key` which tap they are for.
"""

TRACE = "trace"
JOINTS = "joints"
"""The first frame of a trace, one for each chain: its `joints` in order, and what time is now by both clocks."""
PASSED = "passed"
"""`data` are frames that have passed a `joint` of a `chain` at a `time` (CLOCK_MONOTONIC, in seconds)."""
EXECUTED = "executed"
"""At this `time` the front had executed what has come back from a `chain`; outboxes may still hold what it sends."""

CLIENT = "client"
STAGE = "stage"

DONE = "done"
REFUSED = "refused"
TAP_ENDED = "tap_ended"
"""The last frame of a tap, when the server ends."""

REQUEST_LIMIT_BYTES = 16 * 1024 * 1024
"""The largest request."""


def done(**more: object) -> Frame:
    """The last frame of an answer."""
    return {"type": DONE, **more}


def refused(code: int, reason: str) -> Frame:
    """The last frame of an answer to a request that can't be met; `code` is the exit code of fws-ctl."""
    return {"type": REFUSED, "code": code, "reason": reason}
