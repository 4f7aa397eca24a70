"""Lets `import filtered_websocket` find the package of that name in `legacy`, for modules written for that server."""

from __future__ import annotations

import os
import sys

LEGACY = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "legacy")


def use_old_names() -> None:
    """Find modules in the current folder, and filtered_websocket in `legacy`, before any that are installed."""
    sys.path[:0] = [LEGACY, os.getcwd()]
