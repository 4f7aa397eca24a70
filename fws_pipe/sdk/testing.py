"""Checks a filter in any language against the contract that every filter keeps: `check_filter(["./my-filter"])`.

`fws-check -- ./my-filter` is the same in a shell. What is asked of a filter: `fws-pipe --help frames`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from fws_pipe.sdk.contract import FRAMES, JSON_LINES, Form, Outcome
from fws_pipe.sdk.trial import try_filter

__all__ = ["FRAMES", "JSON_LINES", "ContractError", "Form", "check_filter"]


class ContractError(AssertionError):
    """A filter breaks the contract; the text says which part of it."""


def check_filter(
    argv: Sequence[str],
    *,
    reads: Form = FRAMES,
    writes: Form = FRAMES,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
) -> None:
    """Run a filter through its contract. Raises ContractError, or OSError when it can't be started.

    `timeout_s` is what each of its conversations may take, in seconds.
    """
    for finding in try_filter(argv, reads, writes, os.environ if environment is None else environment, timeout_s):
        if finding.outcome is Outcome.FAILED:
            raise ContractError(f"{' '.join(argv)}: {finding.text}")
