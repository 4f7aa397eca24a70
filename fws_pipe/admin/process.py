"""What the server's own process takes of the machine, under the names that Prometheus's client libraries use.

What the system doesn't tell is left out: memory and descriptors come from /proc (proc(5)), which only Linux has.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from fws_pipe.admin.exposition import Family, Kind

_CPU = Family("process_cpu_seconds", Kind.COUNTER, "Processor time of the server's own process", unit="seconds")
_RESIDENT = Family("process_resident_memory_bytes", Kind.GAUGE, "Memory of the server's own process", unit="bytes")
_VIRTUAL = Family("process_virtual_memory_bytes", Kind.GAUGE, "Its virtual memory", unit="bytes")
_OPEN = Family("process_open_fds", Kind.GAUGE, "Its open descriptors")
_MOST = Family("process_max_fds", Kind.GAUGE, "The most descriptors that it may open")
_START = Family("process_start_time_seconds", Kind.GAUGE, "When it was started, since the epoch", unit="seconds")

PROCESS_FAMILIES = (_CPU, _RESIDENT, _VIRTUAL, _OPEN, _MOST, _START)

_STARTED = time.time()
"""About when this process began: it loads this module at its start."""


def process_values() -> dict[Family, float]:
    """The values now."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    values: dict[Family, float] = {_CPU: usage.ru_utime + usage.ru_stime, _MOST: most, _START: _STARTED}
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
        values[_OPEN] = len(os.listdir("/proc/self/fd"))
        values[_VIRTUAL], values[_RESIDENT] = (int(count) * resource.getpagesize() for count in pages[:2])
    except OSError:
        pass  # there is no /proc
    return values
