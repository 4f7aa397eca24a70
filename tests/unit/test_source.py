"""A subscription reads whole messages, however they arrive, with each redis-py that we admit."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from fws_pipe.redis_link import RedisSettings, connect
from fws_pipe.source import _Subscription
from tests.redis_servers import HOST, RedisServer

ROOT = Path(__file__).resolve().parents[2]
PIECE_BYTES = 8192


@contextmanager
def slow_network_to(port: int) -> Iterator[int]:
    """A port that passes on what Redis says in pieces, with a pause after each."""
    with socket.create_server((HOST, 0)) as listener, socket.create_connection((HOST, port)) as server:

        def pass_on_answers(client: socket.socket) -> None:
            while block := server.recv(PIECE_BYTES):
                client.sendall(block)
                ended.wait(0.01)

        def pass_on_requests() -> None:
            client, _ = listener.accept()
            with client:
                answers = threading.Thread(target=pass_on_answers, args=(client,))
                answers.start()
                while block := client.recv(PIECE_BYTES):
                    server.sendall(block)
                server.shutdown(socket.SHUT_RDWR)
                answers.join()

        ended = threading.Event()
        requests = threading.Thread(target=pass_on_requests)
        requests.start()
        yield listener.getsockname()[1]
        ended.set()
        requests.join()


@pytest.mark.parametrize("size", [10, 20_000, 1_000_000])
def test_a_message_that_arrives_in_pieces_is_read_whole(redis_server: RedisServer, size: int) -> None:
    with (
        slow_network_to(redis_server.port) as port,
        closing(connect(RedisSettings(f"redis://{HOST}:{port}"))) as client,
    ):
        subscription = _Subscription(client.pubsub(), ["c"], False)
        subscription.confirm()
        for number in range(3):
            redis_server.client().publish("c", b"%d" % number * size)
        received: list[bytes] = []
        while len(received) < 3:
            received += [message["data"] for message in subscription.receive()]
        assert received == [b"%d" % number * size for number in range(3)]
        subscription.close()


@pytest.mark.slow
@pytest.mark.parametrize("version", ["redis==5.0.1", "redis"])
def test_the_oldest_and_the_newest_redis_py(version: str, tmp_path: Path) -> None:
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        str(tmp_path),
    ]
    subprocess.run([*install, version], check=True, timeout=100)
    show = "import redis; print(redis.__file__)"
    with_it = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "]
    found = subprocess.run([*with_it[:2], with_it[2] + show], capture_output=True, text=True, check=True, timeout=30)
    assert found.stdout.startswith(str(tmp_path))
    files = ["test_source.py", "test_publisher.py"]
    run = f"import pytest; sys.exit(pytest.main({['-q', '-m', 'not slow', *(f'tests/unit/{name}' for name in files)]}))"
    done = subprocess.run([*with_it[:2], with_it[2] + run], capture_output=True, text=True, cwd=ROOT, timeout=100)
    assert done.returncode == 0, done.stdout
