"""What filtered_websocket's documentation showed, typed in as it stood there."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from websockets.sync.client import connect

from tests.harness import PATIENCE_S, Server, Servers
from tests.redis_servers import RedisServer

REDIS_MODULE = "filtered_websocket.storage_objects.redis"

HI_MORGAN = """
from filtered_websocket.filters.base import WebSocketDataFilter

class HiMorgan(WebSocketDataFilter):
    @classmethod
    def filter(cls, web_socket_instance, data):
        payload = bytes(data)
        if payload.lower().strip() == b'morgan':
            print('Hi Mrrrgn!')
"""


def fws_server(servers: Servers, *arguments: str, **environment: str) -> Server:
    return servers.start_command(
        "fws_server", "-p", "0", "--host", "127.0.0.1", *arguments, environment=servers.environment(**environment)
    )


def fws_server_with_redis(servers: Servers, redis: RedisServer, *arguments: str) -> Server:
    return fws_server(
        servers,
        *arguments,
        "--redis_host",
        "127.0.0.1",
        "--redis_port",
        str(redis.port),
        STORAGE_OBJECT_MODULE=REDIS_MODULE,
    )


def test_hi_morgan_with_nc(servers: Servers) -> None:
    """Bytes that are no handshake at all reach a filter of raw data."""
    command = shutil.which("nc")
    if command is None:
        pytest.skip("nc is not installed")
    # OpenBSD's needs -N to end its side at the end of its input; Ncat does so by itself, and knows no -N.
    end_of_input = ["-N"] if b"-N" in subprocess.run([command, "-h"], capture_output=True, check=False).stderr else []
    servers.script("hi_morgan.py", HI_MORGAN)
    server = fws_server(servers, "-f", "hi_morgan")
    subprocess.run(
        [command, *end_of_input, "127.0.0.1", str(server.port)], input=b"Morgan\n", check=False, timeout=PATIENCE_S,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    server.stdout.wait_for("^Hi Mrrrgn!$")


def test_what_a_python_shell_publishes_reaches_all_clients(servers: Servers, redis_server: RedisServer) -> None:
    server = fws_server_with_redis(servers, redis_server, "-f", "filtered_websocket.filters.broadcast_pubsub")
    shell = (
        "import redis\n"
        f"r = redis.Redis(port={redis_server.port})\n"
        'r.publish("global", "hello from the server!")  # Connected WebSocket clients receive this message\n'
    )
    with connect(server.url) as alice, connect(server.url) as bob:
        subprocess.run([sys.executable, "-c", shell], check=True, timeout=PATIENCE_S)
        assert alice.recv(PATIENCE_S) == bob.recv(PATIENCE_S) == "hello from the server!"


def test_a_server_between_clients_and_from_remote_processes(servers: Servers, redis_server: RedisServer) -> None:
    server = fws_server_with_redis(
        servers,
        redis_server,
        "-f",
        "filtered_websocket.filters.broadcast_messages",
        "filtered_websocket.filters.broadcast_pubsub",
    )
    with connect(server.url) as alice, connect(server.url) as bob:
        alice.send("hello")
        assert bob.recv(PATIENCE_S) == "hello"
        redis_server.client().publish("global", "from outside")
        assert alice.recv(PATIENCE_S) == bob.recv(PATIENCE_S) == "from outside"


def test_stdout_pubsub_prints_what_is_published(servers: Servers, redis_server: RedisServer) -> None:
    server = fws_server_with_redis(
        servers, redis_server, "-f", "filtered_websocket.filters.stdout_pubsub", "--redis_channels", "news", "weather"
    )
    assert server.port
    redis_server.client().publish("weather", "fine")
    server.stdout.wait_for("--PUBSUB--")
    server.stdout.wait_for("weather.*fine")


def test_a_module_keeps_its_data_in_redis(servers: Servers, redis_server: RedisServer) -> None:
    servers.script(
        "remember.py",
        "from filtered_websocket.filters.base import WebSocketMessageFilter\n\n"
        "class Remember(WebSocketMessageFilter):\n"
        "    @classmethod\n"
        "    def filter(cls, web_socket_instance, msg):\n"
        '        web_socket_instance.storage_object.add("words", bytes(msg).decode())\n'
        '        known = web_socket_instance.storage_object.get("words")\n'
        '        web_socket_instance.sendMessage(" ".join(sorted(known)))\n',
    )
    for expected in ("one", "one two"):
        server = fws_server_with_redis(servers, redis_server, "-f", "remember")
        with connect(server.url) as client:
            client.send(expected.split()[-1])
            assert client.recv(PATIENCE_S) == expected
        assert server.stop() == 0
    assert redis_server.client().smembers("fws:storage:words") == {b"one", b"two"}


def test_the_options_of_redis_stand_in_the_help(servers: Servers) -> None:
    server = fws_server(servers, "-h", STORAGE_OBJECT_MODULE=REDIS_MODULE)
    assert server.wait() == 0
    for option in ("--redis_host", "--redis_port", "--redis_channels", "--redis_key", "-key", "-cert", "-f", "-c"):
        assert option in server.stdout.text
    plain = fws_server(servers, "-h")
    assert plain.wait() == 0
    assert "--redis_host" not in plain.stdout.text
