"""Runs the subscriber of a user's own storage, and writes each value that it puts on the queue as an `enqueue` action.

It sends the ticks that it reads on stdin back on stdout, so that the server knows that it lives. Each frame is written
at once. At the end of input it ends the subscriber, and exits with 0.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from fws_pipe.errors import EXIT_OK
from fws_pipe.pipes.blocks import STDERR, STDOUT, BlockWriter, frames_of_blocks, run_program, say, start_thread
from fws_pipe.protocol.codec import Frame, describe, encode, type_of
from fws_pipe.protocol.events import TICK
from fws_pipe.sdk.user_storage import storage_from

_PATIENCE_S = 2.0
"""How long a subscriber has to end after `kill`, in seconds."""


class Queue:
    """The server's queue: each value that a subscriber puts, from any thread, goes to the server at once."""

    def __init__(self, descriptor: int) -> None:
        self._output = BlockWriter(descriptor)
        self._lock = threading.Lock()
        self._complained_of: set[str] = set()

    def put(self, data: Any) -> None:
        """Send a value to the server. One that msgpack can't carry is dropped, and reported once for each reason."""
        try:
            self.write({"type": "enqueue", "data": bytes(data) if isinstance(data, bytearray) else data})
        except (TypeError, ValueError, OverflowError) as error:
            if str(error) not in self._complained_of:
                self._complained_of.add(str(error))
                say(f"subscriber: dropped a value that can't be put on the queue ({error}): {describe(data)}")

    def write(self, frame: Frame) -> None:
        """Write one frame at once, from any thread."""
        raw = encode(frame)
        with self._lock:
            self._output.add(raw)
            self._output.flush()


class Instance:
    """The argument of a subscriber's `listener`: it has the server's queue and storage, and no clients."""

    def __init__(self, queue: Queue, storage_object: Any) -> None:
        self.queue = queue
        self.storage_object = storage_object
        self.users: dict[str, Any] = {}
        self.token = os.environ.get("FWS_TOKEN")


def run_subscriber() -> None:
    """Run the subscriber until the end of input. Raises UsageError where the storage module can't be used."""
    queue = Queue(_move_frame_pipe())
    storage, options = storage_from(os.environ)
    subscriber = type(storage).get_subscriber()(client=storage.get_client(), options=options)
    instance = Instance(queue, storage)
    listening = start_thread(lambda: subscriber.listener(instance), "subscriber")
    for frame, _ in frames_of_blocks("the front", lambda: None):
        if type_of(frame) == TICK:
            queue.write(frame)
    kill = getattr(subscriber, "kill", None)
    if kill is not None:
        kill()
    listening.join(_PATIENCE_S)
    sys.stdout.flush()
    os._exit(EXIT_OK)  # not sys.exit: a listener may still wait for its next message


def _move_frame_pipe() -> int:
    """Move the pipe of frames to another descriptor, which is returned: stdout is then the server's own."""
    frames = os.dup(STDOUT)
    number = os.environ.get("FWS_STDOUT_FD", "")
    os.dup2(int(number) if number.isdecimal() else STDERR, STDOUT)
    sys.stdout = os.fdopen(STDOUT, "w", buffering=1, closefd=False)
    return frames


if __name__ == "__main__":
    run_program("subscriber", run_subscriber)
