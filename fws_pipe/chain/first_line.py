"""What is wrong with the first line of a script, before the system says no more than "not found". No I/O.

The kernel runs a file that begins with `#!` with the interpreter that this line names, to the letter: a carriage return
at its end is part of the name (execve(2)). A file without `#!` is run by the shell, whatever language it is in.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

START_BYTES = 256
"""How much of a file the kernel looks at for its first line (binfmt_script)."""

_SUFFIXES = {
    "py": "#!/usr/bin/env fws-python",
    "js": "#!/usr/bin/env node",
    "mjs": "#!/usr/bin/env node",
    "rb": "#!/usr/bin/env ruby",
    "pl": "#!/usr/bin/env perl",
    "lua": "#!/usr/bin/env lua",
    "awk": "#!/usr/bin/env -S gawk -f",
    "php": "#!/usr/bin/env php",
    "jq": "#!/usr/bin/env -S jq -cf --unbuffered",
    "sh": "#!/bin/sh",
    "bash": "#!/bin/bash",
}
"""The first line that a script of each language wants."""

_PYTHON = re.compile(rb"(?:from [\w.]+ import |import [\w.]+\s|def \w+\(|class \w+|\"\"\")")


def problem_of(name: str, start: bytes, exists: Callable[[str], bool]) -> str | None:
    """What is wrong with a script, and the mend; None: nothing, or it is no script.

    `name` is its path as the user wrote it, `start` its first bytes, and `exists` says whether a command, or a path, is
    there.
    """
    line, newline, _ = start.partition(b"\n")
    if start.startswith(b"#!"):
        return _problem_of_interpreter(name, line, exists) if newline or len(start) < START_BYTES else None
    if b"\0" in start or not start:
        return None  # a program in machine code
    suffix = name.rpartition(".")[2] if "." in name.rpartition("/")[2] else ""
    wanted = _SUFFIXES.get(suffix) or (_SUFFIXES["py"] if _PYTHON.match(start) else None)
    mend = f"put {wanted} above all else" if wanted else "put #!/bin/sh above all else, or the program that it is for"
    return f"its first line is not #!, so that a shell would run it, whatever it is: {mend}"


def _problem_of_interpreter(name: str, line: bytes, exists: Callable[[str], bool]) -> str | None:
    if line.endswith(b"\r"):
        mend = f"sed -i 's/\\r$//' {shlex.quote(name)}"
        return f"its lines end with CR LF, as on Windows, and no interpreter's name does: {mend}"
    words = line[2:].decode(errors="replace").split()
    if not words:
        return "its first line, #!, names no interpreter, such as #!/bin/sh"
    if not exists(words[0]):
        return f"its first line names {words[0]}, and there is no such program"
    if words[0].endswith("/env"):
        command = next((word for word in words[1:] if not word.startswith("-") and "=" not in word), None)
        if command is not None and not exists(command):
            return f"its first line names {command}, which is not on PATH"
    return None
