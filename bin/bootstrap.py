"""Makes a checkout's virtual environment when it is needed: `bootstrap.py FOLDER EXTRA [PYTHON-VERSION]`.

It uses the standard library only, since it runs before anything is installed: so Python starts it with -S, in half the
time. When nothing is to be done it prints nothing. Otherwise it says on stderr what it does and how long that may take,
in whole lines and also where stderr is no terminal: in the log of a CI run half a minute of silence looks like a hang.
Of two that start at once the second waits, and says so. A failure is one line with the cause, and exit code 5; an
interrupt ends it with 130, and the next start begins anew.
"""

from __future__ import annotations

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # What follows takes a tenth of a second to load, in which an interrupt must not show a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import errno
import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, NoReturn

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
EXIT_SYSTEM = 5
INTERRUPTED = 130
"""A shell's exit code for a process that SIGINT has ended."""

NO_NETWORK = re.compile(
    r"Failed to establish a new connection|NewConnectionError|NameResolutionError|Temporary failure in name resolution"
    r"|Network is unreachable|Connection refused|Connection timed out|ConnectTimeoutError|ProxyError"
    r"|\(from versions: none\)"
)
"""pip's messages when it reaches no index; its last line only says that there is no such package."""

ERROR = re.compile(r"ERROR: |[A-Za-z]+(?:Error|Exception): ")
"""The begin of a line that tells the cause; pip's last line often only says that there was an error."""

CANDIDATES = ("python3", "python3.13", "python3.12", "python3.11", "python3.14")


def main() -> None:
    """Make the environment, unless it exists and was made from the present pyproject.toml."""
    folder, extra, *version = sys.argv[1:]
    environment = ROOT / folder
    stamp = environment / ".made-from"
    made_from = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + extra.encode()).hexdigest()
    if is_current(stamp, made_from):
        return
    try:
        tell_of_interrupts()
        with open(ROOT / f"{folder}.lock", "w") as lock:
            acquire(lock, folder)
            if not is_current(stamp, made_from):
                make(environment, extra, find_python(version[0] if version else None))
                stamp.write_text(f"{made_from}\n{ROOT}\n")
    except OSError as error:
        fail(f"{folder} can't be made in {ROOT} ({error.strerror}); {mend_of(error)}")
    except KeyboardInterrupt:
        print(f"fws-pipe: interrupted while setting up {folder}; the next start does it anew", file=sys.stderr)
        sys.exit(INTERRUPTED)


def tell_of_interrupts() -> None:
    """From now on SIGINT raises KeyboardInterrupt, unless it is ignored, as behind a script's `&`."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def acquire(lock: IO[str], folder: str) -> None:
    """Acquire the lock; while another process holds it say so, and wait (flock(2))."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"waiting for another process that is setting up {folder}...")
        fcntl.flock(lock, fcntl.LOCK_EX)


def mend_of(error: OSError) -> str:
    """The mend for a file that can't be written."""
    if error.errno == errno.ENOSPC:
        return "make room on the disk"
    return f"make the folder writable for this user, or install it elsewhere with: python3 -m pip install {ROOT}"


def is_current(stamp: Path, made_from: str) -> bool:
    """Whether the environment was made from this, at this path: it holds its own path, and a checkout may be moved."""
    return stamp.is_file() and stamp.read_text() == f"{made_from}\n{ROOT}\n"


def make(environment: Path, extra: str, python: str) -> None:
    """Make the environment anew, with the checkout installed in place and the packages of an extra."""
    chosen = f"[{extra}]" if extra else ""
    shutil.rmtree(environment, ignore_errors=True)
    say(f"setting up {environment.name} with {python} (once)...")
    run([python, "-m", "venv", str(environment)])
    say(f"installing fws-pipe{chosen} and its dependencies with pip: 10 to 60 s, longer on a slow network...")
    pip = [str(environment / "bin" / "python"), "-m", "pip"]
    run([*pip, "install", "--quiet", "--disable-pip-version-check", "-e", f"{ROOT}{chosen}"])


def say(text: str) -> None:
    """Write one line on stderr, at once."""
    print(text, file=sys.stderr, flush=True)


def run(command: list[str]) -> None:
    """Run a command without showing its output; end this process with the cause when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        fail(cause_of(done.stdout + done.stderr, command))


def cause_of(words: str, command: list[str]) -> str:
    """The cause of a command's failure, and the mend, in one line; `words` is its output."""
    if NO_NETWORK.search(words):
        return "pip reaches no package index; is there a network? PIP_INDEX_URL and HTTPS_PROXY name a way to one"
    if "ensurepip is not" in words:
        return "this Python makes no virtual environments; install its venv module (Debian: apt install python3-venv)"
    lines = [line.strip() for line in words.strip().splitlines() if not line.startswith("[notice]")]
    telling = [line for line in lines if ERROR.match(line)] or lines or ["it said nothing"]
    return f"{' '.join(command)} failed: {telling[-1]}"


def find_python(version: str | None) -> str:
    """An interpreter of this version ("3.13"); None: any that is new enough."""
    names = [f"python{version}"] if version else list(CANDIDATES)
    names += sorted(glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version or '*'}*/bin/python")), reverse=True)
    fitting = (name for name in names if fits(version_of(name), version))
    missing = f"no Python {version} was found" if version else "Python 3.11 or newer is needed, and none was found"
    return next(fitting, None) or fail(missing)


def fits(found: tuple[int, int] | None, version: str | None) -> bool:
    """Whether an interpreter's version is new enough, and the one that is wanted."""
    return found is not None and found >= OLDEST and (version is None or version == f"{found[0]}.{found[1]}")


def version_of(python: str) -> tuple[int, int] | None:
    """The (major, minor) of an interpreter; None: it doesn't run, like a shim on PATH for a missing version."""
    try:
        done = subprocess.run(
            [python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    words = done.stdout.split()
    return (int(words[0]), int(words[1])) if done.returncode == 0 and len(words) == 2 else None


def fail(problem: str) -> NoReturn:
    """Say what went wrong, and exit."""
    print(f"fws-pipe: can't set up: {problem}", file=sys.stderr)
    sys.exit(EXIT_SYSTEM)


if __name__ == "__main__":
    main()
