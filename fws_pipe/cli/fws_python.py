"""fws-python: runs a Python script in the environment that fws-pipe is installed in.

Filters begin with `#!/usr/bin/env fws-python`: so they can import fws_pipe wherever the fws commands are on PATH,
whichever python3 is first there. It imports next to nothing, since each filter starts through it.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run `fws-python FILE [ARGUMENT…]`, with FILE as `__main__`; without a FILE run Python itself.

    An interrupt ends the script without a traceback, as it ends other filters. A script that has to clean up first
    handles SIGINT itself (signal(7)).
    """
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
    path = sys.argv[1]
    del sys.argv[0]
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        sys.exit(f"fws-python: can't read {path}: {error.strerror}")
    # As with Python itself, modules beside the script can be imported.
    sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    # The script runs in a module of its own, so that it neither sees nor overwrites this launcher's names.
    module = type(sys)("__main__")
    module.__file__ = path
    vars(module)["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    # dont_inherit: this file's `from __future__` doesn't apply to the script.
    try:
        exec(compile(source, path, "exec", dont_inherit=True), vars(module))
    except Exception as error:
        if sys.excepthook is not sys.__excepthook__:
            raise
        from fws_pipe.sdk.failures import show_failure

        sys.last_value = error
        show_failure(type(error), error, error.__traceback__)
        sys.exit(1)
