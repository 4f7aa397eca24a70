"""What a filter in Python imports: handlers as functions (here) or as classes (`fws_pipe.sdk.classes`).

Loads msgpack and little else: filters must start fast. Never trio.
"""

from fws_pipe.sdk.functions import (
    DROP,
    Action,
    accept,
    alive,
    close,
    emit,
    enqueue,
    hold,
    join,
    leave,
    on,
    publish,
    reject,
    resume,
    run,
    send,
    tell,
)

__all__ = [
    "DROP",
    "Action",
    "accept",
    "alive",
    "close",
    "emit",
    "enqueue",
    "hold",
    "join",
    "leave",
    "on",
    "publish",
    "reject",
    "resume",
    "run",
    "send",
    "tell",
]
