"""What a filter's author sees when the filter fails: the line at fault first, then the traceback without our own part.

And what shows a script that registers handlers and never calls `run`: it ends at once, as if all were well.
"""

from __future__ import annotations

import os
import sys
from types import TracebackType

from fws_pipe.pipes.blocks import run_program, say

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def show_failure(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an uncaught exception (`sys.excepthook`)."""
    if isinstance(error, SyntaxError) and error.filename == sys.argv[0]:
        say(f"{os.path.basename(error.filename)}, line {error.lineno}: {kind.__name__}: {error.msg}")
        sys.__excepthook__(kind, error.with_traceback(None), None)
        return
    handlers = _from_handler(trace)
    place = _place_of(handlers)
    if place is not None:
        name = place.tb_frame.f_code.co_name
        function = "" if name.startswith("<") else f", in {name}"
        where = f"{os.path.basename(_file_of(place))}, line {place.tb_lineno}{function}"
        say(f"{where}: {kind.__name__}" + (f": {error}" if str(error) else ""))
    sys.__excepthook__(kind, error.with_traceback(handlers), handlers)


def _file_of(trace: TracebackType) -> str:
    return trace.tb_frame.f_code.co_filename


def _is_ours(trace: TracebackType) -> bool:
    return os.path.abspath(_file_of(trace)).startswith(_PACKAGE)


def _from_handler(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the handler on: without the script's call of `run`, and our own part below it."""
    script = trace
    while script is not None and _file_of(script) != sys.argv[0]:
        script = script.tb_next
    handler = script
    while handler is not None and handler.tb_frame.f_code is not run_program.__code__:
        handler = handler.tb_next
    while handler is not None and _is_ours(handler):
        handler = handler.tb_next
    return handler or script or trace


def _place_of(trace: TracebackType | None) -> TracebackType | None:
    """The last line in the file that the traceback begins in: below that are libraries."""
    place = trace
    while trace is not None:
        if place is not None and _file_of(trace) == _file_of(place):
            place = trace
        trace = trace.tb_next
    return place


def tell_of_missing_run(script: str) -> None:
    """Say that a script has ended without a call of `run`, unless an exception has ended it."""
    if not hasattr(sys, "last_value"):
        say(f"{script}: it has handlers, and never calls run(): put run() at its end")
