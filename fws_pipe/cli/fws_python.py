"""fws-python: runs a Python script in the environment that fws-pipe is installed in.

It exists for the first line of filters, `#!/usr/bin/env fws-python`: such a filter finds fws_pipe wherever the fws
commands are on PATH, whichever python3 comes first there. Imports next to nothing: each filter starts through it.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run `fws-python FILE [ARGUMENT…]`, with FILE as `__main__`; without a FILE, Python itself.

    An interrupt ends the script without a traceback, as it ends other filters; one that has to clean up before its end
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
    # As Python does it: what lies beside the script can be imported.
    sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    # A module of its own: the script must not see this launcher's names, nor end the launcher by hiding them.
    module = type(sys)("__main__")
    module.__file__ = path
    vars(module)["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    # dont_inherit: the script must not get this file's `from __future__`.
    exec(compile(source, path, "exec", dont_inherit=True), vars(module))
