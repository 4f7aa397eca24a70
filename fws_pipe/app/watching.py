"""--watch: reloads when a file behind the chain, or the config file, has changed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import trio

from fws_pipe.app.backend import ReadChains, Reload
from fws_pipe.app.stopping import Stopping
from fws_pipe.chain.resolver import Command
from fws_pipe.chain.watch import RestlessFiles, Watch, programs_named_in
from fws_pipe.config.options import Config
from fws_pipe.errors import FwsError
from fws_pipe.log import Log


async def watch_files(
    config: Config,
    chains: Mapping[str, Sequence[Command]],
    read_chains: ReadChains,
    reload: Reload,
    stopping: Stopping,
    log: Log,
) -> None:
    """Reload whenever a file behind a chain, or the config file, has changed, until the server stops."""
    restless = RestlessFiles()
    while not stopping.is_set():
        commands = [command for chain in chains.values() for command in chain]
        named = [path for command in commands for path in (command.path, *programs_named_in(command.text))]
        watched = {path for path in (*named, config.file) if path is not None} - restless.found
        changed = await Watch(watched).wait_changed()
        for path in restless.note_changed(changed, trio.current_time()):
            log.always(f"--watch: no longer watching {path}: it changes at each reload, so the chain seems to write it")
        if stopping.is_set() or restless.found.issuperset(changed):
            continue
        reload("--watch")
        restless.note_reload(trio.current_time())
        with contextlib.suppress(FwsError):  # the reload has logged it
            chains = read_chains()
