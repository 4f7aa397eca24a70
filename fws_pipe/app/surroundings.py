"""The resources that all stages and sources share: environment, storage, the server's name in Redis, stdout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from fws_pipe.broker.settings import RedisSettings
from fws_pipe.chain.commands import stage_path
from fws_pipe.chain.environment import stage_environment
from fws_pipe.chain.spawn import Surroundings
from fws_pipe.chain.stdout import ServerStdout
from fws_pipe.config.options import CONTROL_AUTO, Config
from fws_pipe.errors import SystemRefusedError
from fws_pipe.log import Log
from fws_pipe.storage.base import StorageKind
from fws_pipe.system.runtime_folder import runtime_folder

_LOG = {"FWS_LOG_FORMAT": "text"}
"""The server gives the stages' lines the form of its log: it knows the time, the stage and its process."""


@contextlib.contextmanager
def name_in_redis(redis: RedisSettings | None, log: Log) -> Iterator[None]:
    """Take the server's name in Redis, which the source then keeps until it ends. Raises FwsError."""
    if redis is None:
        yield
        return
    from fws_pipe.broker.membership import forget_server, take_name

    take_name(redis, log.always)  # it may block, since nothing runs yet
    try:
        yield
    except BaseException:
        forget_server(redis)  # no source may have run that could do it
        raise


@contextlib.contextmanager
def own_folder(config: Config, log: Log) -> Iterator[str | None]:
    """Make the server's own folder, for the control socket and for a database without a path; yields None without it.

    Raises SystemRefusedError if a database needs the folder.
    """
    with contextlib.ExitStack() as open_folder:
        folder = None
        if config.storage == StorageKind.SQLITE:
            folder = open_folder.enter_context(runtime_folder())
        elif config.control == CONTROL_AUTO:
            try:
                folder = open_folder.enter_context(runtime_folder())
            except SystemRefusedError:
                log.info("fws-ctl can't reach this server: can't make a folder for its socket; see --control")
        yield folder


def _storage_environment(config: Config, redis: RedisSettings | None, folder: str | None) -> dict[str, str]:
    """The variables that name the storage; a database without a path is in the server's folder."""
    environment = dict(config.storage_environment)
    if config.storage == StorageKind.REDIS and redis is not None:
        environment.update(redis.to_environment())
    if config.storage == StorageKind.SQLITE:
        environment["FWS_STORAGE"] = f"sqlite:{folder}/storage.db"
    return environment


def stage_surroundings(
    config: Config,
    redis: RedisSettings | None,
    environment: Mapping[str, str],
    folder: str | None,
    stdout: int,
    log: Log,
) -> Surroundings:
    """The stages' environment, made from the server's, and their stdout, which is the descriptor `stdout` to them."""
    plain = stage_environment(environment, config.pass_env, is_clean=config.clean_env)
    if kept := sorted(environment.keys() - plain.keys()):
        log.debug(f"kept from the stages' environment: {', '.join(kept)}")
    storage = _storage_environment(config, redis, folder)
    return Surroundings(
        {**plain, "PATH": stage_path(environment), "PYTHONUNBUFFERED": "1", **_LOG, **storage},
        ServerStdout(stdout, log),
    )
