"""The Autobahn protocol cases against the chain `mirror`, run by a client that nobody here wrote (PyPI kosoku).

FWS_TEST_CONFORMANCE=all runs all of them on every way in; without it, and that is CI, all with epoll, and of the others
those groups that take little time.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.authority import Authority, TlsRelay
from tests.harness import BIN, Servers

CASES = {"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "9": 54, "10": 1}
"""How many there are in each group, but for those of compression."""

QUICK = ("1", "2", "3", "4", "5", "7", "10")
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}
RUNS_ALL = os.environ.get("FWS_TEST_CONFORMANCE") == "all"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("way", ["epoll", "tasks", "library", "tls"])
def test_no_case_fails_and_every_failed_connection_gets_a_close_frame(servers: Servers, way: str) -> None:
    options = ["--max-message", "64M", "--outbox-limit", "64M"]
    with ExitStack() as stack:
        if way == "tls":
            authority = Authority(servers.folder)
            server = servers.start(*options, *authority.issue(), "mirror")
            port = stack.enter_context(TlsRelay(server.port, authority.client_context())).port
        else:
            server = servers.start(*options, "--intake", way, "mirror")
            port = server.port
        groups = tuple(CASES) if RUNS_ALL or way == "epoll" else QUICK
        cases = _run_cases(port, groups, servers.folder / "report")
    assert len(cases) == sum(CASES[group] for group in groups)
    assert {case: verdict for case, verdict in cases.items() if not _passed(servers.folder / "report", verdict)} == {}
    assert server.stop() == 0


def _run_cases(port: int, groups: tuple[str, ...], report: Path) -> dict[str, dict[str, str]]:
    """Run these groups of cases; returns the verdict of each case."""
    selected = [part for group in groups for part in ("-i", f"{group}.*")]
    command = [str(BIN / "kosoku"), f"127.0.0.1:{port}", *selected, "-o", str(report)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    cases: dict[str, dict[str, str]]
    [cases] = json.loads((report / "index.json").read_text()).values()
    return cases


def _passed(report: Path, verdict: dict[str, str]) -> bool:
    if verdict["behavior"] not in PASSED or verdict["behaviorClose"] not in PASSED:
        return False
    details = json.loads((report / verdict["reportfile"]).read_text())
    expected = details.get("expectedClose")
    # Where the server has to end the connection, it must have said why.
    must_say_why = bool(expected) and not expected.get("closedByMe")
    return not must_say_why or verdict["remoteCloseCode"] is not None
