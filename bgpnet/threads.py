"""Threads that do not die in silence: an error nobody foresaw ends the process, and its supervisor starts it again.

Killing any of our processes at any instant breaks no packet (ARCHITECTURE.md, rule 4), so that is the safe answer to a
bug; a worker that is missing without anybody knowing is not.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


def loudly(work: Callable[P, None]) -> Callable[P, None]:
    """The work; if it raises, the traceback is printed and the process ends with status 70 (EX_SOFTWARE)."""

    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            work(*args, **kwargs)
        except BaseException:  # whatever it is, it is printed and ends the process
            traceback.print_exc(file=sys.stderr)
            sys.stderr.flush()
            os._exit(70)

    return run


def start(name: str, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> threading.Thread:
    """Run the work in a thread of that name which does not keep the process alive."""
    thread = threading.Thread(target=loudly(work), args=args, kwargs=kwargs, name=name, daemon=True)
    thread.start()
    return thread
