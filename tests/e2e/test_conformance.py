"""The Autobahn protocol cases against the chain `mirror`, run by a client that nobody here wrote (PyPI kosoku).

FWS_TEST_CONFORMANCE=all runs all of them on every way in. Without it, and that is CI, all run with epoll, but for two
that send 4 MiB in fragments of 64 bytes and take half of the time (others send it in fragments of 256), and with the
other ways those groups that take little time.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.authority import Authority, TlsRelay
from tests.harness import BIN, Servers

CASES = {"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "9": 54, "10": 1}
"""How many there are in each group, but for those of compression."""

LARGE = "9"
"""Messages of up to 16 MiB: one case at a time, since each takes a processor. Others mostly wait."""

AT_ONCE = 4
"""How many of the others run side by side."""

TINY_FRAGMENTS = ("9.3.1", "9.4.1")
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
        left_out = () if RUNS_ALL or LARGE not in groups else TINY_FRAGMENTS
        report = servers.folder / "report"
        cases = _run_cases(port, [group for group in groups if group != LARGE], report, AT_ONCE)
        if LARGE in groups:
            cases |= _run_cases(port, [LARGE], report, 1, left_out)
    assert len(cases) == sum(CASES[group] for group in groups) - len(left_out)
    assert {case: verdict for case, verdict in cases.items() if not _passed(report, verdict)} == {}
    assert server.stop() == 0


def _run_cases(
    port: int, groups: Sequence[str], report: Path, at_once: int, left_out: Sequence[str] = ()
) -> dict[str, dict[str, str]]:
    """Run these groups of cases, so many at once; returns the verdict of each case."""
    selected = [part for group in groups for part in ("-i", f"{group}.*")]
    selected += [part for case in left_out for part in ("-x", case)]
    command = [str(BIN / "kosoku"), f"127.0.0.1:{port}", *selected, "-p", str(at_once), "-o", str(report)]
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
