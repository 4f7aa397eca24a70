"""The Autobahn protocol cases against the chain `mirror`, run by a client that nobody here wrote (PyPI kosoku)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.harness import BIN, Servers

GROUPS = ("1", "2", "3", "4", "5", "6", "7", "9", "10")
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_no_case_fails_and_every_failed_connection_gets_a_close_frame(servers: Servers) -> None:
    server = servers.start("--max-message", "64M", "--outbox-limit", "64M", "mirror")
    address = f"127.0.0.1:{server.port}"
    report = servers.folder / "report"
    selected = [part for group in GROUPS for part in ("-i", f"{group}.*")]
    subprocess.run([BIN / "kosoku", address, *selected, "-o", report], check=True, capture_output=True, timeout=300)
    [cases] = json.loads((report / "index.json").read_text()).values()
    assert len(cases) == 301
    failed = {case: verdict for case, verdict in cases.items() if not _passed(report, verdict)}
    assert failed == {}
    assert server.stop() == 0


def _passed(report: Path, verdict: dict[str, str]) -> bool:
    if verdict["behavior"] not in PASSED or verdict["behaviorClose"] not in PASSED:
        return False
    details = json.loads((report / verdict["reportfile"]).read_text())
    expected = details.get("expectedClose")
    # Where the server has to end the connection, it must have said why.
    must_say_why = bool(expected) and not expected.get("closedByMe")
    return not must_say_why or verdict["remoteCloseCode"] is not None
