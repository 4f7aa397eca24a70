"""Server upgrades under load: python -m tests.chaos.upgrades [UPGRADES] [MESSAGES A SECOND] [CLIENTS]

Clients send numbers at a steady rate to a chain that sends them back, while one server after the other takes over from
the one before it. Each client must get each of its numbers once, in order, on the connection that it has opened first.
The last line tells how many there were, and the longest time without any.
"""

from __future__ import annotations

import selectors
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.raw import RawClient, frame
from tests.harness import PATIENCE_S, Server, Servers

_STEP_S = 0.01
"""How often what is due is sent."""

_BETWEEN_S = 1.0
"""How long a server serves before the next one starts."""


@dataclass
class Crowd:
    """Clients that send at a rate, and what they have got; all in one thread, which `run` is."""

    clients: list[RawClient]
    rate: float
    sent: int = 0
    got: dict[RawClient, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    longest_pause_s: float = 0.0
    is_over: bool = False
    _rest: dict[RawClient, bytes] = field(default_factory=dict)

    def run(self) -> None:
        """Talk until it is over, and all answers are there or late."""
        selector = selectors.DefaultSelector()
        for client in self.clients:
            client.socket.setblocking(True)
            selector.register(client.socket, selectors.EVENT_READ, client)
        begun = heard = time.monotonic()
        end = 0.0
        while not self.failures and (not end or (self.received < self.sent * len(self.clients) and heard < end)):
            now = time.monotonic()
            due = int((now - begun) * self.rate / len(self.clients))
            if self.is_over:
                end = end or now + PATIENCE_S
            elif due > self.sent:
                numbers = b"".join(frame(b"%08d" % number) for number in range(self.sent, due))
                for client in self.clients:
                    client.socket.sendall(numbers)
                self.sent = due
            for key, _ in selector.select(_STEP_S):
                self._take(key.data)
                self.longest_pause_s = max(self.longest_pause_s, time.monotonic() - heard)
                heard = time.monotonic()
            if end and time.monotonic() > end:
                break
            time.sleep(max(_STEP_S - (time.monotonic() - now), 0.0))

    @property
    def received(self) -> int:
        return sum(self.got.values())

    def _take(self, client: RawClient) -> None:
        block = client.socket.recv(1 << 20)
        if not block:
            self.failures.append("a connection was closed")
        stream = self._rest.get(client, b"") + block
        whole = len(stream) // 10 * 10
        for begin in range(0, whole, 10):
            expected = b"\x81\x08%08d" % self.got.get(client, 0)
            if stream[begin : begin + 10] != expected:
                self.failures.append(f"{stream[begin : begin + 10]!r} in place of {expected!r}")
                return
            self.got[client] = self.got.get(client, 0) + 1
        self._rest[client] = stream[whole:]


def main(upgrades: int = 10, rate: float = 5000.0, clients: int = 50) -> int:
    """Run it; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder, Servers(Path(folder)) as servers:
        control = f"{folder}/control"
        server = servers.start("--control", control, "mirror")
        crowd = Crowd([RawClient(server.port) for _ in range(clients)], rate)
        for client in crowd.clients:
            client.upgrade()
        thread = threading.Thread(target=crowd.run)
        thread.start()
        begun = time.monotonic()
        for number in range(upgrades):
            time.sleep(_BETWEEN_S)
            server = _upgrade(servers, server, control)
            print(f"upgrade {number + 1}: {crowd.received} answers so far, {len(crowd.failures)} failures", flush=True)
        time.sleep(_BETWEEN_S)
        seconds = time.monotonic() - begun
        crowd.is_over = True
        thread.join()
        for client in crowd.clients:
            client.socket.close()
        server.stop()
    missing = crowd.sent * clients - crowd.received
    print(
        f"{upgrades} upgrades in {seconds:.0f} s: {crowd.received} of {crowd.sent * clients} messages answered once, "
        f"in order ({crowd.received / seconds:.0f}/s), {missing} missing, longest pause {crowd.longest_pause_s:.2f} s; "
        f"{'; '.join(crowd.failures) or 'no connection closed'}"
    )
    return 1 if missing or crowd.failures else 0


def _upgrade(servers: Servers, old: Server, control: str) -> Server:
    new = servers.start("--control", control, "--takeover", control, "mirror")
    new.stderr.wait_for("took over", patience_s=4 * PATIENCE_S)
    assert old.wait() == 0
    return new


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in sys.argv[1:])))
