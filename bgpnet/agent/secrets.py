"""BGP passwords, from the files below one directory and from the environment. It decides nothing, and logs no value.

Files are looked at again and again, for Kubernetes replaces a mounted Secret's files in place; an environment does not
change. A Secret's own bookkeeping (names that begin with a dot) is left out.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from bgpnet.agent.events import SecretsLooked
from bgpnet.bgp.secret import Secret, Secrets, secret
from bgpnet.config import HIDDEN_PREFIX

log = logging.getLogger("bgpnet.agent")

LOOK = 1.0
"""Seconds between two looks."""
MOST = 1 << 16
"""Bytes of a file that are read; a password is far shorter, and is refused by its length."""


def follow(
    directory: Path,
    environ: Mapping[str, str],
    emit: Callable[[SecretsLooked], None],
    stop: threading.Event,
    pause: float = LOOK,
) -> None:
    """Tell of what there is, and again whenever it is different. pause: seconds between two looks."""
    told: Secrets | None = None
    while True:
        found = look(directory, environ)
        if found != told:
            if told is not None:
                log.info("BGP passwords changed: %s", ", ".join(_changed(told, found)))
            emit(SecretsLooked(found))
            told = found
        if stop.wait(pause):
            return


def look(directory: Path, environ: Mapping[str, str]) -> Secrets:
    """What there is now. A file that cannot be read is a secret with a problem."""
    found = {name: secret(os.fsencode(value)) for name, value in environ.items() if name.startswith(HIDDEN_PREFIX)}
    try:
        for folder in _visible(directory):
            for file in _visible(folder):
                found[f"{folder.name}/{file.name}"] = _read(file)
    except OSError as problem:
        log.warning("%s cannot be read: %s; see to its permissions", directory, problem.strerror)
    return Secrets(str(directory), found)


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(file: Path) -> Secret:
    try:
        with file.open("rb") as opened:
            return secret(opened.read(MOST))
    except OSError as problem:
        return Secret(problem=f"cannot be read ({problem.strerror}); see to the file and its permissions")


def _changed(told: Secrets, found: Secrets) -> list[str]:
    names = sorted(told.found.keys() | found.found.keys())
    return [name for name in names if told.found.get(name) != found.found.get(name)]
