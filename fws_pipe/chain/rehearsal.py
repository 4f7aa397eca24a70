"""Runs a chain with no server: frames in, frames out, each stage a process, as in a shell.

    frames -> stage 1 -> stage 2 -> ... -> frames, and the status of each stage

All stages run in the caller's process group, so an interrupt from the keyboard ends them too; those that are left when
the caller is done are killed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from types import TracebackType

from fws_pipe.chain.commands import SystemCommands, stage_path
from fws_pipe.chain.environment import stage_environment
from fws_pipe.chain.resolver import Command, resolve_chain
from fws_pipe.errors import StageError
from fws_pipe.pipes.blocks import start_thread, write_all
from fws_pipe.system.signals import ending_of

SHELL = "/bin/sh"


class Rehearsal:
    """A running chain; a context manager that leaves no process behind.

    Raises ChainError for a chain that can't be resolved, StageError when a stage can't be started.
    """

    def __init__(self, chain: str, environment: Mapping[str, str]) -> None:
        path = stage_path(environment)
        self._commands = resolve_chain(chain, SystemCommands(path))
        self._environment = {
            **stage_environment(environment, (), is_clean=False),
            "PATH": path,
            "PYTHONUNBUFFERED": "1",
        }
        self._stages: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Rehearsal:
        try:
            for number, command in enumerate(self._commands):
                self._stages.append(self._start(command, self._reads_from(number)))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _reads_from(self, number: int) -> str:
        return self._commands[number - 1].label if number else "the recording"

    def _start(self, command: Command, reads_from: str) -> subprocess.Popen[bytes]:
        previous = self._stages[-1].stdout if self._stages else None
        try:
            return subprocess.Popen(
                [SHELL, "-c", command.shell_text],
                bufsize=0,
                stdin=previous or subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**self._environment, "FWS_READS_FROM": reads_from},
            )
        except OSError as error:
            raise StageError(f"{command.label} can't start: {error.strerror}") from None
        finally:
            if previous is not None:
                previous.close()  # the stage has it now

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stage in self._stages:
            stage.kill()
            stage.wait()
            for pipe in (stage.stdin, stage.stdout):
                if pipe is not None:
                    pipe.close()

    @property
    def output(self) -> int:
        """The descriptor that the last stage's frames come from."""
        assert self._stages[-1].stdout is not None
        return self._stages[-1].stdout.fileno()

    def feed(self, blocks: Iterator[bytes]) -> None:
        """Write these blocks, then the end of input, from a thread: the chain may write before it has read all."""
        stdin, self._stages[0].stdin = self._stages[0].stdin, None  # the thread closes it, and nobody else does
        assert stdin is not None

        def write() -> None:
            try:
                for block in blocks:
                    write_all(stdin.fileno(), block)
            except BrokenPipeError:
                pass  # the first stage has ended: its status tells how
            stdin.close()  # not after an error, which ends the process: the chain would end before it, and in order

        start_thread(write, "feed")

    def failures(self) -> list[str]:
        """Wait for all stages, and say of each that hasn't ended well how it ended.

        A stage that the one behind it has left without a reader is no failure of its own (SIGPIPE, pipe(7)).
        """
        said = []
        for command, stage in zip(self._commands, self._stages, strict=True):
            status = stage.wait()
            if status:
                said.append(f"{command.label} {ending_of(status)}")
        return said
