"""The files for service managers and containers are valid, and fit the server's own defaults."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fws_pipe.config.options import OPTIONS, Config, parse_pipe
from fws_pipe.config.topics import DEPLOY, text_of
from tests.harness import COMMAND_PATH

DEFAULTS = {option.name: option.default for option in OPTIONS}

NEW_TYPE = "Failed to parse service type, ignoring: notify-reload"
"""What a systemd before 253 says of the second Type; the first one counts then."""

TO_SPARE_S = 5.0
"""What a server needs beyond --drain-timeout: to hear of the signal, and to end its processes."""


def text(name: str) -> str:
    return (DEPLOY / name).read_text()


def parsed(*arguments: str) -> Config:
    config = parse_pipe(arguments, {})
    assert isinstance(config, Config)
    return config


def test_the_documents_name_each_file() -> None:
    named = set(re.findall(r"`([A-Za-z-]+\.?[a-z]*)`", text_of("operations").split("## Ready-made files")[1]))
    assert {path.name for path in DEPLOY.iterdir()} <= named


# systemd


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The units in a folder, of a server that is installed."""
    command = shutil.which("fws-pipe", path=COMMAND_PATH) or ""
    (tmp_path / "fws-pipe.service").write_text(
        text("fws-pipe.service").replace("=/opt/fws-pipe/bin/fws-pipe", f"={command}")
    )
    shutil.copy(DEPLOY / "fws-pipe.socket", tmp_path)
    return tmp_path / "fws-pipe.service"


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd)")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_systemd_finds_no_mistake_in_the_units(unit: Path) -> None:
    done = analyze("verify", "--man=no", str(unit), str(unit.with_suffix(".socket")))
    said = [line for line in (done.stdout + done.stderr).splitlines() if not line.endswith(NEW_TYPE)]
    assert (done.returncode, said) == (0, [])


def test_a_mistake_in_a_unit_would_be_found(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KillMode=some"))
    assert "ignoring: some" in analyze("verify", "--man=no", str(unit)).stderr


def test_the_service_has_few_rights(unit: Path) -> None:
    """systemd's own measure, from 0 (none) to 10 (all); below 2 it is content."""
    done = analyze("security", "--offline=true", "--no-pager", "--threshold=20", str(unit))
    assert done.returncode == 0, done.stdout


def section(name: str) -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text("fws-pipe.service"))
    return unit[name]


def test_the_unit_fits_the_servers_defaults() -> None:
    service = section("Service")
    assert service["KillMode"] == "mixed"
    assert service["Type"] == "notify-reload"
    assert float(service["TimeoutStopSec"]) >= DEFAULTS["drain-timeout"] + TO_SPARE_S
    assert float(service["WatchdogSec"]) > 2 * DEFAULTS["stall-timeout"]
    assert int(service["LimitNOFILE"]) > DEFAULTS["max-clients"] + DEFAULTS["max-handshakes"] + 1000
    assert service["RestartPreventExitStatus"] == "2"


def test_the_config_file_of_the_service_is_valid(tmp_path: Path) -> None:
    assert parsed("-c", str(DEPLOY / "fws-pipe.toml")).chain == "broadcast | stdout_log"
    whole = tmp_path / "whole.toml"
    whole.write_text(re.sub(r"^# (?=\w+ = )", "", text("fws-pipe.toml"), flags=re.MULTILINE))
    assert parsed("-c", str(whole)).trusted_proxy, "what is commented out is valid, too"


# Containers


def instructions() -> list[tuple[str, str]]:
    joined = text("Containerfile").replace("\\\n", "")
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.partition(" ")[2]) for line in lines]


def words(instruction: str) -> list[str]:
    """The words of an instruction in its JSON form, the only one that starts no shell."""
    found: list[str] = yaml.safe_load(dict(instructions())[instruction])
    assert isinstance(found, list)
    return found


def test_the_image_is_what_it_says() -> None:
    last = dict(instructions())
    assert int(last["USER"].split(":")[0]) > 0
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert words("ENTRYPOINT") == ["fws-pipe"]
    assert parsed(*words("CMD")).chain == "broadcast | stdout_log"
    assert last["HEALTHCHECK"].endswith('CMD ["fws-ctl", "status"]')
    assert last["EXPOSE"] == str(DEFAULTS["port"])


def test_hadolint_finds_nothing_in_the_containerfile() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed: it has no binary for this machine")
    done = subprocess.run([hadolint, str(DEPLOY / "Containerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


def test_compose_has_two_servers_with_one_valkey() -> None:
    compose = yaml.safe_load(text("compose.yaml"))
    services: dict[str, Any] = compose["services"]
    servers = [service for service in services.values() if service["image"] == "fws-pipe"]
    assert len(servers) == 2
    for server in servers:
        assert parse_pipe(server["command"], server["environment"])
        assert seconds(server["stop_grace_period"]) >= DEFAULTS["drain-timeout"] + TO_SPARE_S
        assert server["tmpfs"] == ["/tmp"]
        assert (DEPLOY / server["build"]["context"] / "pyproject.toml").is_file()
        assert (DEPLOY / server["build"]["context"] / server["build"]["dockerfile"]).samefile(DEPLOY / "Containerfile")
    assert all(service["read_only"] and service["cap_drop"] == ["ALL"] for service in services.values())
    published = [port for server in servers for port in server["ports"]]
    assert len(set(published)) == 2
    assert all(port.startswith("127.0.0.1:") and port.endswith(f":{DEFAULTS['port']}") for port in published)


def test_kubernetes_asks_the_admin_address_and_waits_for_the_end() -> None:
    deployment, service = yaml.safe_load_all(text("kubernetes.yaml"))
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    config = parsed(*container["args"])
    assert ports == {"clients": config.port, "admin": 9001}
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/ready", "readiness": "/ready", "liveness": "/live",
    }  # fmt: skip
    assert {probe["port"] for probe in probes.values()} == {"admin"}
    [_sleep, before_stop] = container["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] >= float(before_stop) + config.drain_timeout + TO_SPARE_S
    assert service["metadata"]["name"] != "fws", "FWS_PORT is the server's"
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["clients"]
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
