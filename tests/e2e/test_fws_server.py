"""fws_server: what filtered_websocket's readers do, with its own words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.e2e.test_chain import children_of, stage_of
from tests.harness import COMMAND_PATH, Server, Servers

FILTERS = "filtered_websocket.filters."

# As the old documentation shows it; the line of the import is not in there.
MESSAGE_FILTER = "from filtered_websocket.filters.base import WebSocketMessageFilter\n"

CHAT_SERVER = (
    MESSAGE_FILTER
    + """
class ChatServer(WebSocketMessageFilter):

    @classmethod
    def filter(cls, web_socket_instance, data):
        for user_id, user_instance in web_socket_instance.users.items():
            user_instance.sendMessage(bytes(data))
"""
)

POPCHAR = (
    MESSAGE_FILTER
    + """
class PopChar(WebSocketMessageFilter):
    @classmethod
    def filter(cls, web_socket_instance, data):
        data.pop()  # remove last character from the bytearray
"""
)

STORE = """
from filtered_websocket.storage_objects.base import BaseStorageObject

class StorageObject(BaseStorageObject):
    def __init__(self, options, *args, **kwargs):
        super(StorageObject, self).__init__(options, *args, **kwargs)
        self.storage = {}

    def get(self, item):
        return self.storage.get(item, (self.options.greeting, self.options.port, self.options.nodes))

    @classmethod
    def parser(cls, parser):
        parser.add_argument("--greeting", default="hello", help="What to say.")
        parser.add_argument("--nodes", nargs="*")
        return parser
"""

ASK = (
    MESSAGE_FILTER
    + """
class Ask(WebSocketMessageFilter):
    @classmethod
    def filter(cls, web_socket_instance, data):
        web_socket_instance.sendMessage("%s %s %s" % web_socket_instance.storage_object.get("x"))
"""
)

PUBSUB_STORE = """
import time
from filtered_websocket.storage_objects.base import BasePubSubStorageObject
from filtered_websocket.storage_objects.subscribers.base import BaseSubscriber

class Ticker(BaseSubscriber):
    def __init__(self, client, options):
        self.client = client
        self.killed = False

    def listener(self, web_socket_instance):
        print("the listener is here")
        while not self.killed:
            web_socket_instance.queue.put(object())
            web_socket_instance.queue.put({"type": "message", "data": self.client})
            time.sleep(0.05)

    def kill(self):
        print("the listener was killed")
        self.killed = True

class StorageObject(BasePubSubStorageObject):
    def get_client(self):
        return "news from %s" % self.options.station

    @classmethod
    def get_subscriber(cls):
        return Ticker

    @classmethod
    def parser(cls, parser):
        parser.add_argument("--station", default="nowhere")
        return parser
"""


def start(servers: Servers, *arguments: str, **environment: str) -> Server:
    """Start fws_server on a free port."""
    return servers.start_command("fws_server", "-p", "0", *arguments, environment=servers.environment(**environment))


def run_server(servers: Servers, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run fws_server where it should end by itself."""
    return subprocess.run(
        ["fws_server", *arguments], capture_output=True, text=True, check=False, timeout=30, cwd=servers.folder,
        env={**servers.environment(**environment), "COLUMNS": "120", "PATH": COMMAND_PATH},
    )  # fmt: skip


def hears_nothing(client: ClientConnection) -> bool:
    """Whether nothing comes within a moment."""
    try:
        client.recv(0.2)
    except TimeoutError:
        return True
    return False


def test_help(servers: Servers) -> None:
    done = run_server(servers, "-h")
    assert done.returncode == 0
    for words in ("-p PORT, --port PORT", "-c CONFIG, --config", "-f [FILTERS ...], --filters", "-key KEY", "-cert"):
        assert words in done.stdout
    assert "--redis_host" not in done.stdout
    redis = run_server(servers, "-h", STORAGE_OBJECT_MODULE="filtered_websocket.storage_objects.redis").stdout
    for words in ("--redis_host REDIS_HOST", "--redis_port", "--redis_channels [REDIS_CHANNELS ...]", "--redis_key"):
        assert words in redis
    servers.script("store.py", STORE)
    assert "--greeting GREETING" in run_server(servers, "-h", STORAGE_OBJECT_MODULE="store").stdout


def test_the_default_filters_and_all_interfaces(servers: Servers) -> None:
    server = start(servers)
    assert server.url.startswith("ws://0.0.0.0:")
    with connect(server.url) as alice, connect(server.url) as bob:
        for message in ("héllo", "two\nlines", b"\xff\x00"):
            alice.send(message)
            assert bob.recv(30) == message
        assert hears_nothing(alice)
    assert server.stop() == 0
    lines = server.stdout.lines
    assert lines[0::2][0] == "--MESSAGE--"
    assert lines[1].endswith(" => héllo")
    assert lines[3].endswith(r" => two\nlines")
    assert lines[5].endswith(r" => \xff\x00")


def test_host(servers: Servers) -> None:
    server = start(servers, "--host", "127.0.0.1", "-f", f"{FILTERS}stdout_messages")
    assert server.url.startswith("ws://127.0.0.1:")


def test_the_chat_server_of_the_readme(servers: Servers) -> None:
    servers.script("chat_server.py", CHAT_SERVER)
    server = start(servers, "-f", "chat_server")
    with connect(server.url) as alice, connect(server.url) as bob:
        alice.send("hello")
        assert alice.recv(30) == bob.recv(30) == "hello"


def test_a_module_wins_over_a_shipped_filter_of_its_name(servers: Servers) -> None:
    servers.script("broadcast.py", CHAT_SERVER)
    server = start(servers, "-f", "broadcast")
    with connect(server.url) as alice:
        alice.send("to myself as well")
        assert alice.recv(30) == "to myself as well"


@pytest.mark.parametrize(
    ("filters", "shown"),
    [
        (["popchar", f"{FILTERS}stdout_messages"], "Tes"),
        ([f"{FILTERS}stdout_messages", "popchar"], "Test"),
    ],
)
def test_popchar(servers: Servers, filters: list[str], shown: str) -> None:
    servers.script("popchar.py", POPCHAR)
    server = start(servers, "-f", *filters)
    with connect(server.url) as client:
        client.send("Test")
        server.stdout.wait_for(f" => {shown}$")


def test_broadcast_messages_by_token(servers: Servers) -> None:
    server = start(servers, "-f", f"{FILTERS}broadcast_messages_by_token")
    with connect(server.url) as alice, connect(server.url) as bob, connect(server.url) as carol:
        alice.send("hello")
        assert alice.recv(30) == "Error: No token has been set"
        for client, token in ((alice, "tea"), (bob, "tea"), (carol, "coffee")):
            client.send(f"token:{token}")
            assert client.recv(30) == f"Successfully registered with broadcast group: {token}"
        alice.send("milk?")
        assert bob.recv(30) == "milk?"
        assert hears_nothing(carol)


def test_token_is_the_group_of_those_without_one(servers: Servers) -> None:
    servers.script(
        "show.py",
        MESSAGE_FILTER
        + "class Show(WebSocketMessageFilter):\n    @classmethod\n    def filter(cls, web_socket_instance, data):\n"
        "        web_socket_instance.sendMessage(web_socket_instance.token)\n",
    )
    server = start(servers, "-token", "tea", "-f", "show", f"{FILTERS}broadcast_messages_by_token")
    with connect(server.url) as alice, connect(server.url) as bob:
        alice.send("milk?")
        assert alice.recv(30) == "tea"
        assert bob.recv(30) == "milk?"


LOGIN = (
    MESSAGE_FILTER
    + """
class Login(WebSocketMessageFilter):
    @classmethod
    def filter(cls, web_socket_instance, data):
        if data.startswith(b"login:"):
            web_socket_instance.token = bytes(data[6:])
        if data == b"whoami":
            web_socket_instance.sendMessage("%s" % web_socket_instance.token)
        if data == b"all:out":
            for user in web_socket_instance.users.values():
                user.token = None
"""
)
BY_TOKEN = f"{FILTERS}broadcast_messages_by_token"


@pytest.mark.parametrize("modules", [f"./login.py {BY_TOKEN}", f"{BY_TOKEN} ./login.py"])
def test_a_module_of_the_same_stage_sets_the_token(servers: Servers, modules: str) -> None:
    servers.script("login.py", LOGIN)
    server = servers.start("--token", "lobby", f"fws-filter {modules}")
    with connect(server.url) as alice, connect(server.url) as bob, connect(server.url) as carol:
        alice.send("in the lobby")
        assert bob.recv(30) == carol.recv(30) == "in the lobby"
        for client in (alice, bob):
            client.send("login:tea")
            client.send("whoami")
            while client.recv(30) != "b'tea'":
                pass
        bob.send("milk?")
        while alice.recv(30) != "milk?":
            pass
        carol.send("all:out")
        for client in (carol, alice, bob):
            client.send("whoami")
            while client.recv(30) != "None":
                pass
        alice.send("is anybody there?")
        while alice.recv(30) != "Error: No token has been set":
            pass


def test_the_old_names_of_the_token_filters(servers: Servers) -> None:
    servers.script(
        "mine.py",
        f"from {BY_TOKEN} import TokenDisconnectFilter, TokenMessageFilter\n"
        "from filtered_websocket.filters.base import WebSocketDisconnectFilter, WebSocketMessageFilter\n"
        "class Bye(WebSocketDisconnectFilter):\n    @classmethod\n    def filter(cls, web_socket_instance, data):\n"
        "        print('gone from', web_socket_instance.token)\n"
        "assert issubclass(TokenMessageFilter, WebSocketMessageFilter)\n"
        "assert issubclass(TokenDisconnectFilter, WebSocketDisconnectFilter)\n",
    )
    server = start(servers, "-f", "mine")
    with connect(server.url) as alice, connect(server.url) as bob:
        for client in (alice, bob):
            client.send("token:tea")
            assert client.recv(30) == "Successfully registered with broadcast group: tea"
        alice.send("milk?")
        assert bob.recv(30) == "milk?"
    server.stdout.wait_for("^gone from tea$", 2)


def test_the_token_outlives_a_crash_of_the_chain(servers: Servers) -> None:
    servers.script("login.py", LOGIN)
    server = servers.start("--token", "lobby", f"cat | fws-filter ./login.py {BY_TOKEN}")
    with connect(server.url) as alice, connect(server.url) as bob:
        alice.send("token:tea")
        assert alice.recv(30) == "Successfully registered with broadcast group: tea"
        bob.send("token:")
        assert bob.recv(30) == "Successfully left broadcast group: lobby"
        os.kill(stage_of(server.pid, "cat"), signal.SIGKILL)
        server.stderr.wait_for("the chain serves again")
        for client, token in ((alice, "tea"), (bob, "None")):
            client.send("whoami")
            assert client.recv(30) == token
            if client is bob:
                assert client.recv(30) == "Error: No token has been set"


QUEUE = (
    MESSAGE_FILTER
    + """
class Produce(WebSocketMessageFilter):
    @classmethod
    def filter(cls, web_socket_instance, data):
        web_socket_instance.queue.put({"type": "message", "data": bytes(data)})
"""
)


def test_the_pubsub_filters(servers: Servers) -> None:
    servers.script("produce.py", QUEUE)
    server = start(servers, "-f", "produce", f"{FILTERS}broadcast_pubsub", f"{FILTERS}stdout_pubsub")
    with connect(server.url) as alice, connect(server.url) as bob:
        alice.send("news")
        assert alice.recv(30) == bob.recv(30) == "news"
    server.stdout.wait_for("^--PUBSUB--$")
    server.stdout.wait_for("^{'type': 'message', 'data': b?'news'}$")


def test_an_import_adds_a_filter(servers: Servers) -> None:
    servers.script("mine.py", "from filtered_websocket.filters import stdout_rawdata, broadcast_messages\n")
    server = start(servers, "-f", "mine")
    with connect(server.url) as alice, connect(server.url) as bob:
        alice.send("hello")
        assert bob.recv(30) == "hello"
    server.stdout.wait_for("^--RAWDATA--$")


def test_the_config_file_of_the_documentation(servers: Servers) -> None:
    filters = [f"{FILTERS}broadcast_messages_by_token", f"{FILTERS}stdout_messages"]
    (servers.folder / "config.json").write_text(json.dumps({"port": "0", "filters": filters}))
    server = servers.start_command("fws_server", "-c", "config.json")
    with connect(server.url) as client:
        client.send("token:tea")
        assert client.recv(30) == "Successfully registered with broadcast group: tea"
    server.stdout.wait_for(" => token:tea$")


def test_the_command_line_beats_the_file(servers: Servers) -> None:
    servers.script("chat.py", CHAT_SERVER)
    (servers.folder / "config.json").write_text('{"port": "1", "host": "127.0.0.1", "filters": ["no_such_module"]}')
    server = start(servers, "-c", "config.json", "-f", "chat")
    assert server.url.startswith("ws://127.0.0.1:")
    with connect(server.url) as client:
        client.send("x")
        assert client.recv(30) == "x"


def test_a_users_own_storage_and_its_options(servers: Servers) -> None:
    servers.script("store.py", STORE)
    servers.script("ask.py", ASK)
    (servers.folder / "config.json").write_text('{"nodes": ["a", 2], "greeting": "lost"}')
    server = start(
        servers, "-c", "config.json", "--greeting", "good morning", "-f", "ask", STORAGE_OBJECT_MODULE="store"
    )
    with connect(server.url) as client:
        client.send("x")
        assert client.recv(30) == "good morning 0 ['a', '2']"


def test_a_users_own_storage_may_take_our_options_for_itself(servers: Servers) -> None:
    store = STORE.replace('"--nodes", nargs="*"', '"--host", dest="nodes"')
    servers.script("store.py", store)
    servers.script("ask.py", ASK)
    (servers.folder / "config.json").write_text('{"redis_host": "r"}')
    done = run_server(servers, "-p", "0", "-c", "config.json", STORAGE_OBJECT_MODULE="store")
    assert (done.returncode, done.stderr) == (
        2,
        'fws_server: config.json: unknown key "redis_host"; did you mean "redis_url"?\n',
    )
    servers.script("store.py", store.replace("greeting", "redis_host"))
    server = start(servers, "-c", "config.json", "--host", "h", "-f", "ask", STORAGE_OBJECT_MODULE="store")
    with connect(server.url) as client:
        client.send("x")
        assert client.recv(30) == "r 0 h"


def test_a_users_own_subscriber(servers: Servers) -> None:
    servers.script("store.py", PUBSUB_STORE)
    server = start(servers, "--station", "mars", "-f", f"{FILTERS}broadcast_pubsub", STORAGE_OBJECT_MODULE="store")
    with connect(server.url) as client:
        assert [client.recv(30) for _ in range(3)] == ["news from mars"] * 3
    server.stderr.wait_for("dropped a value that can't be put on the queue .can not serialize 'object' object.")
    assert server.stop() == 0
    assert server.stderr.text.count("can't be put on the queue") == 1
    assert server.stdout.lines == ["the listener is here", "the listener was killed"]


def test_storage_without_pubsub_has_no_subscriber(servers: Servers) -> None:
    for name, store, subscribers in (("plain.py", STORE, 0), ("news.py", PUBSUB_STORE, 1)):
        servers.script(name, store)
        server = start(servers, STORAGE_OBJECT_MODULE=name.removesuffix(".py"))
        assert server.port
        lines = children_of(server.pid).values()
        assert len([line for line in lines if "fws_pipe.sdk.subscriber" in line]) == subscribers


def test_the_subscribers_program_alone(servers: Servers) -> None:
    servers.script("store.py", PUBSUB_STORE)
    line = "(fws-emit tick; sleep 1) | fws-python -P -m fws_pipe.sdk.subscriber 2>err | fws-cat >out"
    environment = servers.environment(FWS_STORAGE="module:store", FWS_SERVER_ARGV='["--station", "x"]')
    begun = time.monotonic()
    assert servers.start_command("/bin/sh", "-c", line, environment=environment).wait() == 0
    assert time.monotonic() - begun < 10
    frames = [json.loads(frame) for frame in (servers.folder / "out").read_text().splitlines()]
    assert {"type": "enqueue", "data": {"type": "message", "data": "news from x"}} in frames
    assert [frame for frame in frames if frame["type"] == "tick"]


BAD_STORES = {
    "empty.py": "",
    "broken.py": "x = 1\nnope\n",
    "unfinished.py": "def f(:\n",
    "lacking.py": "import no_such_thing\n",
}


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ("empty", "storage module empty: it has no class StorageObject"),
        ("broken", "storage module broken can't be imported: NameError: name 'nope' is not defined ("),
        ("unfinished", "storage module unfinished can't be imported: SyntaxError: invalid syntax (unfinished.py, line"),
        ("lacking", "storage module lacking can't be imported: ModuleNotFoundError: No module named 'no_such_thing' ("),
        ("nowhere.near", "storage module nowhere.near: there is no such module here or installed"),
        ("no module", "STORAGE_OBJECT_MODULE: expected memory, sqlite, sqlite:PATH, redis or a Python module's name"),
    ],
)
def test_storage_that_is_none(servers: Servers, store: str, words: str) -> None:
    for name, text in BAD_STORES.items():
        servers.script(name, text)
    done = run_server(servers, "-p", "0", STORAGE_OBJECT_MODULE=store)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"fws_server: {words}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "config.json: line 1, column 2: not JSON: "),
        ('{"prot": 1}', 'config.json: unknown key "prot"; did you mean "port"?\n'),
        ('{"port": "x"}', "config.json: port: expected a port, 0 to 65535, got 'x'\n"),
        ('{"filters": "x"}', "config.json: filters: expected a list, got str 'x'; a string goes under \"chain\"\n"),
    ],
)
@pytest.mark.parametrize("store", ["", "store"])
def test_config_files_that_make_no_sense(servers: Servers, store: str, content: str, words: str) -> None:
    servers.script("store.py", STORE)
    (servers.folder / "config.json").write_text(content)
    done = run_server(servers, "-c", "config.json", STORAGE_OBJECT_MODULE=store)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fws_server: {words}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "x"], "argument -p/--port: invalid int value: 'x'; see fws_server --help"),
        (["-p", "99999"], "--port: expected a port, 0 to 65535, got '99999'"),
        (["--prot", "1"], "unknown option --prot; did you mean --port? See fws_server --help"),
        (["-f", ""], "-f: expected names of Python modules, got an empty one"),
        (["-f", "chat", " "], "-f: expected names of Python modules, got an empty one"),
        (["-key", "k"], "-key needs -cert"),
        (["-cert", "/nope"], "-cert /nope: No such file or directory"),
        (["-c", "nope"], "can't read the config file nope: No such file or directory"),
    ],
)
def test_arguments_that_make_no_sense(servers: Servers, arguments: list[str], words: str) -> None:
    done = run_server(servers, *arguments)
    assert (done.returncode, done.stderr) == (2, f"fws_server: {words}\n")


def test_messages_name_options_that_there_are(servers: Servers) -> None:
    redis = {"STORAGE_OBJECT_MODULE": "filtered_websocket.storage_objects.redis"}
    done = run_server(servers, "-p", "0", "--redis_port", "1", **redis)
    assert done.returncode == 5
    assert done.stderr.endswith(
        "; start it, or name another with --redis_host; or serve without it: name another storage with "
        "STORAGE_OBJECT_MODULE\n"
    )
    assert done.stderr.count("\n") == 1
    done = run_server(servers, "-p", "0", FWS_REDIS_URL="redis://127.0.0.1:1")
    assert done.returncode == 5
    assert done.stderr.endswith(
        "name another with FWS_REDIS_URL; or serve without it: leave FWS_REDIS_URL and the like out\n"
    )
    done = run_server(servers, "-p", "0", FWS_AUTH_TOKENS="/nope")
    assert (done.returncode, done.stderr) == (
        2,
        "fws_server: FWS_AUTH_TOKENS /nope: the file can't be read: No such file or directory\n",
    )


def test_an_empty_name_in_a_config_file(servers: Servers) -> None:
    (servers.folder / "config.json").write_text('{"filters": [""]}')
    done = run_server(servers, "-c", "config.json")
    assert (done.returncode, done.stderr) == (
        2,
        "fws_server: config.json: filters: expected names of Python modules, got an empty one\n",
    )


def test_no_such_filter_module(servers: Servers) -> None:
    done = run_server(servers, "-p", "0", "-f", "no_such_module")
    assert done.returncode == 3
    assert "no module 'no_such_module' here or installed" in done.stderr
    assert "Traceback" not in done.stderr
