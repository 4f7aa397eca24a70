"""Makes a checkout's virtual environment when it is needed: `bootstrap.py FOLDER EXTRA [PYTHON-VERSION]`.

Standard library only, since it runs before anything is installed. Prints nothing when there is nothing to do; two that
start at once wait for each other. Exit 5 and one line when it can't be done.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
CANDIDATES = ("python3", "python3.13", "python3.12", "python3.11", "python3.14")


def main() -> None:
    """Make the environment unless it is there and made from today's pyproject.toml."""
    folder, extra, *version = sys.argv[1:]
    environment = ROOT / folder
    stamp = environment / ".made-from"
    made_from = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + extra.encode()).hexdigest()
    if is_current(stamp, made_from):
        return
    with open(ROOT / f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_current(stamp, made_from):
            make(environment, extra, find_python(version[0] if version else None))
            stamp.write_text(f"{made_from}\n{ROOT}\n")


def is_current(stamp: Path, made_from: str) -> bool:
    """Whether the environment was made from this, and here: it knows its own path, and a checkout may be moved."""
    return stamp.is_file() and stamp.read_text() == f"{made_from}\n{ROOT}\n"


def make(environment: Path, extra: str, python: str) -> None:
    """Make it anew, the checkout installed in place with an extra."""
    print(f"setting up {environment.name} with {python} (once)...", file=sys.stderr, flush=True)
    shutil.rmtree(environment, ignore_errors=True)
    what = f"{ROOT}[{extra}]" if extra else str(ROOT)
    for command in (
        [python, "-m", "venv", str(environment)],
        [
            str(environment / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-e",
            what,
        ],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines()
            fail(f"{' '.join(command)} failed: {words[-1] if words else 'it said nothing'}")


def find_python(version: str | None) -> str:
    """An interpreter of this version ("3.13"), or any that is new enough."""
    names = [f"python{version}"] if version else list(CANDIDATES)
    names += sorted(glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version or '*'}*/bin/python")), reverse=True)
    fitting = (name for name in names if fits(version_of(name), version))
    missing = f"no Python {version} was found" if version else "Python 3.11 or newer is needed, and none was found"
    return next(fitting, None) or fail(missing)


def fits(found: tuple[int, int] | None, version: str | None) -> bool:
    """Whether an interpreter's version will do."""
    return found is not None and found >= OLDEST and (version is None or version == f"{found[0]}.{found[1]}")


def version_of(python: str) -> tuple[int, int] | None:
    """The (major, minor) of an interpreter that runs; a name on PATH may be a shim with nothing behind it."""
    try:
        done = subprocess.run(
            [python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    words = done.stdout.split()
    return (int(words[0]), int(words[1])) if done.returncode == 0 and len(words) == 2 else None


def fail(problem: str) -> NoReturn:
    """Say what went wrong, and end."""
    sys.exit(f"fws-pipe: can't set up: {problem}")


if __name__ == "__main__":
    main()
