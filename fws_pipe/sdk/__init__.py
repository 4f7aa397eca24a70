"""The SDK for filters in Python: handlers as functions (here) or as classes (`fws_pipe.sdk.classes`).

    stdin -> functions (handlers, actions) -> stdout; fws-filter hosts modules (host), testing checks any filter

Rule: it loads msgpack and little else, never trio, since filters must start fast.
"""

from fws_pipe.sdk.functions import (
    DROP,
    Action,
    accept,
    alive,
    close,
    emit,
    enqueue,
    flush,
    hold,
    join,
    leave,
    on,
    publish,
    reject,
    remember,
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
    "flush",
    "hold",
    "join",
    "leave",
    "on",
    "publish",
    "reject",
    "remember",
    "resume",
    "run",
    "send",
    "tell",
]
