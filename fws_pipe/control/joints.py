"""The joints of the running chains, by name: what passes there can be copied for one reader."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

from fws_pipe.control.stage_taps import (
    Chain,
    Receiver,
    StageTaps,
    TapRefusedError,
    label_of,
    prefix_of,
    stage_labels,
    wait_taken_out,
)
from fws_pipe.control.tap import Joint, Tap, tapped
from fws_pipe.control.trace import LinkedChain, Trace, traced
from fws_pipe.front.front import Front
from fws_pipe.ledger.link import Link
from fws_pipe.protocol.codec import describe
from fws_pipe.protocol.control import FRONT, SINK


class UnknownJointError(Exception):
    """There is no such joint; the text names those that there are."""


class Tapped(NamedTuple):
    """A tap that is in place."""

    tap: Tap
    ends: Sequence[Callable[[], Awaitable[object]]]
    """Each returns when the tap has been taken out by something else than its reader."""


class Joints:
    """What each process of the chains writes. `stage_taps` is None where only the ends of a chain can be tapped."""

    def __init__(self, front: Front, chains: Callable[[], Sequence[LinkedChain]], stage_taps: StageTaps | None) -> None:
        self._front = front
        self._chains = chains
        self._stage_taps = stage_taps

    def names(self) -> list[str]:
        """The names of all joints: the front, each stage, the sink."""
        chains = self._chains() if self._stage_taps is not None else ()
        return [FRONT, *(prefix_of(chain) + label for chain in chains for label in stage_labels(chain)), SINK]

    def check(self, stage: object) -> None:
        """Raise UnknownJointError unless `stage` names one joint; None stands for both ends together."""
        if not self._ends_of(stage):
            self._find(stage)

    def receiver_of(self, key: object) -> Receiver | None:
        """The receiver of what a tap within a chain has copied, by the tap's key; None: the tap has ended."""
        return self._stage_taps.of(key) if self._stage_taps is not None else None

    @contextlib.asynccontextmanager
    async def tapped(self, stage: object) -> AsyncIterator[Tapped]:
        """Tap what `stage` writes until the end of the block; None: all that goes to the chains and comes from them.

        Raises UnknownJointError, and TapRefusedError if the chain doesn't serve with the tap in it.
        """
        if joints := self._ends_of(stage):
            with tapped(joints) as tap:
                yield Tapped(tap, ())
            return
        taps, chain, label = self._find(stage)
        tap = Tap()
        async with taps.tapped(chain, {label: lambda frames, _time: tap.put(frames)}) as programs:
            yield Tapped(tap, [partial(wait_taken_out, chain, programs)])

    def traced(self) -> contextlib.AbstractAsyncContextManager[Trace]:
        """Tap all joints until the end of the block. Raises TapRefusedError, also where the stages can't be tapped."""
        if self._stage_taps is None:
            raise TapRefusedError("there is no control socket, through which the stages' copies would come")
        return traced(self._stage_taps, self._chains())

    def _ends_of(self, stage: object) -> list[Joint]:
        return [joint for link in self._front.links for joint in _joints_of(link, stage)]

    def _find(self, stage: object) -> tuple[StageTaps, Chain, str]:
        """The chain and the label of a stage. Raises UnknownJointError."""
        found = [(chain, label) for chain in self._chains() if (label := label_of(chain, str(stage)))]
        if self._stage_taps is None or len(found) != 1:
            known = ", ".join(self.names())
            asked = repr(stage) if isinstance(stage, str) else describe(stage)
            raise UnknownJointError(f"there is no stage {asked} to tap; expected one of {known}")
        return self._stage_taps, *found[0]


def _joints_of(link: Link, stage: object) -> list[Joint]:
    """Where what `stage` writes passes; None: all that goes to the chain and comes from it."""
    if stage is None:
        return [link.feed, link]
    joints: dict[str, list[Joint]] = {FRONT: [link.feed], SINK: [link]}
    return joints.get(stage, []) if isinstance(stage, str) else []
