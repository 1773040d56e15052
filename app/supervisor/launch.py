"""Run as a script between fork and exec: ask the kernel to end this process when its parent dies, then become a command.

    python -I -S launch.py PARENT SIGNAL COMMAND [ARGUMENT ...]

Doing this here instead of in `preexec_fn` keeps the supervisor free to use threads. Linux only; elsewhere the command is
merely started, and a supervisor that is killed (not ended) leaves its children behind.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the command; exit at once when the parent is gone already."""
    parent, number, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error.strerror}\n")
        os._exit(127)


if __name__ == "__main__":
    main()
