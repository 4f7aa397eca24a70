"""Each module has a test file of its own, tests/unit/ROOM/test_MODULE.py, or is tested where this says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.structure.test_layers import NAMES

TESTS = Path(__file__).resolve().parent.parent

ELSEWHERE = {
    # What only a running server shows.
    "admin.connection": "e2e/test_admin.py",
    "admin.health": "e2e/test_admin.py",
    "admin.operations": "e2e/test_admin.py",
    "admin.pipeline": "e2e/test_admin.py",
    "admin.process": "e2e/test_admin.py",
    "admin.server": "e2e/test_admin.py",
    "admin.site": "e2e/test_admin.py",
    "admin.taps": "e2e/test_admin.py",
    "app.admin_address": "e2e/test_admin.py",
    "app.backend": "e2e/test_drain.py",
    "app.configured_front": "e2e/test_mistakes.py",
    "app.configured_inputs": "e2e/test_inputs.py",
    "app.control_socket": "e2e/test_control.py",
    "app.drain": "e2e/test_drain.py",
    "app.taking_over": "e2e/test_takeover.py",
    "app.programs": "e2e/test_chain.py",
    "app.route_backend": "e2e/test_routes.py",
    "app.routes": "e2e/test_routes.py",
    "app.run": "e2e/test_reload.py",
    "app.serving": "e2e/test_drain.py",
    "app.signals": "e2e/test_processes.py",
    "app.standard_streams": "e2e/test_chain.py",
    "app.stopping": "e2e/test_drain.py",
    "app.surroundings": "e2e/test_stage_environment.py",
    "app.together": "e2e/test_drain.py",
    "app.watching": "e2e/test_reload.py",
    "admission.entrance": "e2e/test_admission.py",
    "chain.rehearsal": "unit/cli/test_fws_test.py",
    "cli.replay_clients": "unit/cli/test_fws_replay.py",
    "chain.spawn": "e2e/test_chain.py",
    "cli.commands": "structure/test_man_pages.py",
    "cli.entry": "e2e/test_processes.py",
    "cli.fws_emit": "e2e/test_commands.py",
    "cli.fws_python": "e2e/test_commands.py",
    "cli.fws_server": "e2e/test_fws_server.py",
    "cli.serve": "e2e/test_mistakes.py",
    "front.moving": "e2e/test_same_paths.py",
    "front.route": "unit/front/test_front.py",
    "front.downloads": "e2e/test_pages.py",
    "front.reception": "e2e/test_admission.py",
    "cli.control_client": "e2e/test_control.py",
    "cli.fws_ctl": "e2e/test_control.py",
    "control.trace": "e2e/test_trace.py",
    "cli.fws_top": "e2e/test_top.py",
    "system.full_screen": "e2e/test_top.py",
    "front.access_log": "e2e/test_logs.py",
    "control.joints": "e2e/test_control.py",
    "control.server": "e2e/test_control.py",
    "protocol.control": "e2e/test_control.py",
    "inputs.command": "e2e/test_inputs.py",
    "inputs.own_stdin": "e2e/test_inputs.py",
    "protocol.takeover": "e2e/test_takeover.py",
    "sdk.old_names": "e2e/test_old_documentation.py",
    "sdk.subscriber": "e2e/test_old_documentation.py",
    "sdk.user_storage": "e2e/test_fws_server.py",
    "system.first_process": "e2e/test_processes.py",
    "websocket.tls": "e2e/test_tls.py",
    # Parts of something that is tested as a whole.
    "adapters.per_client": "filters/test_per_client.py",
    "adapters.shared": "filters/test_adapters.py",
    "admission.jwt_keys": "unit/admission/test_tokens.py",
    "broker.settings": "unit/broker/test_connection.py",
    "clients.keep_alive": "unit/front/test_front.py",
    "clients.slow_client": "unit/clients/test_registry.py",
    "front.bounds": "unit/front/test_front.py",
    "front.limits": "unit/front/test_front.py",
    "http.site": "unit/admission/test_proxies.py",
    "pipes.json_lines": "filters/test_filters.py",
    "pipes.event_faults": "filters/test_odd_events.py",
    "sdk": "unit/sdk/test_functions.py",
    "sdk.host": "unit/sdk/test_classes.py",
    "sdk.testing": "unit/sdk/test_trial.py",
    "storage": "unit/storage/test_storage.py",
    "storage.base": "unit/storage/test_storage.py",
    "storage.memory": "unit/storage/test_storage.py",
    "storage.redis_storage": "unit/storage/test_storage.py",
    "storage.sqlite": "unit/storage/test_storage.py",
    "websocket.intake": "e2e/test_same_paths.py",
}
"""The modules without one, and the tests that hold them. A module that gets its own test file leaves this list."""

WITH_CODE = [
    name
    for name, path in NAMES.items()
    if not name.startswith("legacy.") and (path.name != "__init__.py" or name in ("sdk", "storage"))
]


def own_test_of(name: str) -> Path:
    *rooms, module = name.split(".")
    return TESTS.joinpath("unit", *rooms, f"test_{module}.py")


@pytest.mark.parametrize("name", WITH_CODE)
def test_each_module_is_tested_where_one_would_look(name: str) -> None:
    assert own_test_of(name).exists() != (name in ELSEWHERE), own_test_of(name)


def test_what_is_tested_elsewhere_is_there() -> None:
    assert ELSEWHERE.keys() <= set(WITH_CODE)
    assert [place for place in ELSEWHERE.values() if not (TESTS / place).exists()] == []
