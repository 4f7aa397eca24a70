"""Where `import filtered_websocket` finds our own package of that name, for modules written for the old server."""

from __future__ import annotations

import os
import sys

LEGACY = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "legacy")


def use_old_names() -> None:
    """Look for modules in the current folder, and for filtered_websocket here: before one that is installed."""
    sys.path[:0] = [LEGACY, os.getcwd()]
