"""Each module has a test file of its own, tests/unit/ROOM/test_MODULE.py, or is tested where this says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.structure.test_layers import NAMES

TESTS = Path(__file__).resolve().parent.parent

ELSEWHERE = {
    # What only a running server shows.
    "app.backend": "e2e/test_drain.py",
    "app.configured_front": "e2e/test_mistakes.py",
    "app.configured_inputs": "e2e/test_inputs.py",
    "app.drain": "e2e/test_drain.py",
    "app.programs": "e2e/test_chain.py",
    "app.run": "e2e/test_reload.py",
    "app.serving": "e2e/test_drain.py",
    "app.signals": "e2e/test_processes.py",
    "app.standard_streams": "e2e/test_chain.py",
    "app.surroundings": "e2e/test_stage_environment.py",
    "app.together": "e2e/test_drain.py",
    "app.watching": "e2e/test_reload.py",
    "admission.entrance": "e2e/test_admission.py",
    "chain.rehearsal": "unit/cli/test_fws_test.py",
    "cli.replay_clients": "unit/cli/test_fws_replay.py",
    "chain.commands": "e2e/test_commands.py",
    "chain.spawn": "e2e/test_chain.py",
    "chain.successor": "e2e/test_reload.py",
    "chain.supervisor": "e2e/test_chain.py",
    "cli.entry": "e2e/test_processes.py",
    "cli.fws_emit": "e2e/test_commands.py",
    "cli.fws_python": "e2e/test_commands.py",
    "cli.fws_server": "e2e/test_fws_server.py",
    "cli.serve": "e2e/test_mistakes.py",
    "front.listener": "e2e/test_listening.py",
    "front.route": "unit/front/test_front.py",
    "front.reception": "e2e/test_admission.py",
    "inputs.command": "e2e/test_inputs.py",
    "inputs.inputs": "e2e/test_inputs.py",
    "inputs.own_stdin": "e2e/test_inputs.py",
    "http.request": "e2e/test_hostile_bytes.py",
    "protocol.life": "e2e/test_redis.py",
    "sdk.old_names": "e2e/test_old_documentation.py",
    "sdk.subscriber": "e2e/test_old_documentation.py",
    "sdk.user_storage": "e2e/test_fws_server.py",
    "system.first_process": "e2e/test_processes.py",
