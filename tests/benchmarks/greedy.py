"""A client that pipelines at full speed until its stdin ends: `greedy PORT`. Says when the first echoes are back.

A process of its own: in a thread it would take turns with those whom it is to crowd out.
"""

from __future__ import annotations

import sys
import threading

from tests.benchmarks.load import RECEIVE_BYTES, client_frame, open_client, server_frame

MESSAGES_A_BLOCK = 1_000


def main() -> int:
    """Returns 1 when what comes back is not what was sent."""
    payloads = [b"%09d" % number + b"g" * 23 for number in range(MESSAGES_A_BLOCK)]
    block, expected = b"".join(map(client_frame, payloads)), b"".join(map(server_frame, payloads))
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            client.sendall(block)

    def wait_for_the_end() -> None:
        sys.stdin.read()
        stop.set()

    with open_client(int(sys.argv[1])) as client:
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        threading.Thread(target=wait_for_the_end, daemon=True).start()
        received, buffer = 0, bytearray(RECEIVE_BYTES)
        view = memoryview(buffer)
        while not (stop.is_set() and not sender.is_alive() and received % len(expected) == 0):
            got = client.recv_into(buffer, len(expected) - received % len(expected))
            if not got or not expected.startswith(view[:got], received % len(expected)):
                return 1
            if not received:
                print("under way", flush=True)
            received += got
    return 0


if __name__ == "__main__":
    sys.exit(main())
