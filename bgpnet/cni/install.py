"""Puts the plugin where the container runtime looks for it: whole, tried out, and in one step; and takes it away."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bgpnet import conflist, files
from bgpnet.client import listens
from bgpnet.cni import home as homes
from bgpnet.cni.home import Home
from bgpnet.errors import UsageError

NAME = conflist.TYPE
"""The executable's name, which is the `type` in network configurations."""
PROGRAM = Path(__file__).parents[2] / "build/cni/bgpnet"
"""Where `make cni` puts the compiled plugin: in this checkout, never in whatever directory root happens to be."""
SHIPPED = Path(sys.prefix) / "libexec/bgpnet/cni"
"""Where it is in the image."""
BIN_DIR = Path(conflist.BIN_DIR)
CONF_DIR = Path(conflist.CONF_DIR)
MODE = 0o755
LOOK = 10.0
"""Seconds between two looks whether the plugin is still in its place."""
TIMEOUT = 30.0


def program() -> Path:
    """The compiled plugin that goes with this bgpnet."""
    return SHIPPED if SHIPPED.exists() and not PROGRAM.exists() else PROGRAM


def read_program(path: Path) -> bytes:
    """The compiled plugin; raises UsageError where there is none."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"--from {path}: {error.strerror}; build it with `make cni`, name another file, or use --python"
        ) from error


def install(program: bytes, bin_dir: Path = BIN_DIR, home: Home | None = None) -> Path:
    """Writes the plugin beside its place, tries it, and renames it there: the path. Raises UsageError.

    home: what the program starts from. Whoever executes the old one meanwhile goes on with it, and nobody ever sees
    half a file. What killed installers left behind is removed, and a home from which neither this plugin starts nor the
    one before: somebody may be about to execute that.
    """
    place = bin_dir / NAME
    try:
        bin_dir.mkdir(mode=MODE, parents=True, exist_ok=True)
        with files.locked(bin_dir, TIMEOUT), ExitStack() as undo:
            files.sweep(place)
            was_idle = homes.is_idle(place)
            if home is not None:
                if not home.folder.exists():
                    undo.callback(homes.remove, bin_dir)
                home.make()
            files.replace(place, program, MODE, try_version)
            undo.pop_all()
            if home is None and was_idle:
                homes.remove(bin_dir)
    except OSError as error:
        raise _refused("--bin-dir", bin_dir, error) from error
    return place


def is_installed(program: bytes, bin_dir: Path = BIN_DIR, home: Home | None = None) -> bool:
    """Whether this very plugin is in its place and may be executed: files of ours, which nobody else can change."""
    place = bin_dir / NAME
    try:
        found = place.lstat()
        whole = found.st_mode == stat.S_IFREG | MODE and found.st_uid == os.geteuid()
        return whole and place.read_bytes() == program and (home is None or home.is_whole())
    except OSError:
        return False


def keep(
    program: bytes,
    bin_dir: Path,
    stop: threading.Event,
    tell: Callable[[str], None],
    every: float = LOOK,
    home: Home | None = None,
) -> None:
    """Put the plugin back whenever it is gone or another, until stopped; what happens is told, each once.

    An upgrade of the machine's own plugins empties or overwrites their directory. every: seconds.
    """
    told = ""
    while not stop.wait(every):
        said = ""
        if not is_installed(program, bin_dir, home):
            try:
                tell(f"restored {install(program, bin_dir, home)}")
            except UsageError as problem:
                said = str(problem)
        if said and said != told:
            tell(said)
        told = said


def uninstall(bin_dir: Path = BIN_DIR, conf_dir: Path = CONF_DIR, agent: Path | None = None) -> list[Path]:
    """Removes the conflist first, so that no pod comes any more, then the plugin: the paths. Raises UsageError.

    agent: a living one's socket, which would write the conflist anew, so that nothing is removed while it listens.
    """
    if agent is not None and listens(agent):
        raise UsageError(f"the agent listens on {agent} and would write {conflist.NAME} anew: stop it first")
    removed: list[Path] = []
    for flag, folder, remove in (("--conf-dir", conf_dir, _remove_conflist), ("--bin-dir", bin_dir, _remove_plugin)):
        try:
            removed += remove(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _refused(flag, folder, error) from error
    return removed


def _remove_conflist(conf_dir: Path) -> list[Path]:
    return files.remove(conf_dir / conflist.NAME)


def _remove_plugin(bin_dir: Path) -> list[Path]:
    with files.locked(bin_dir, TIMEOUT):
        return files.remove(bin_dir / NAME) + homes.remove(bin_dir)


def _refused(flag: str, folder: Path, error: OSError) -> UsageError:
    """What the file system says, and what helps."""
    place = Path(error.filename2 or error.filename or folder)
    if error.errno in (errno.EACCES, errno.EPERM) and os.geteuid() != 0:
        remedy = "run this as root, or name a directory that you may write"
    elif error.errno == errno.EACCES:
        remedy = f"it is another user's, and this process may not override that (CAP_DAC_OVERRIDE): chown root {folder}"
    elif error.errno == errno.EROFS:
        remedy = "mount it writable, or name the directory where the container runtime looks for it"
    elif error.errno == errno.ETIMEDOUT:
        remedy = "wait for it to end, and try again"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "make room there, or name another"
    elif error.errno == errno.EISDIR:
        remedy = f"remove the directory {place}, or name another place"
    elif error.errno == errno.EEXIST and place.is_symlink():
        remedy = f"{place} is a symbolic link to {place.readlink()}, which is no directory: make it, or name another"
    else:
        remedy = "name a directory that can be written"
    return UsageError(f"{flag} {folder}: {error.strerror}; {remedy}")


def try_version(plugin: Path) -> list[str]:
    """The versions of CNI that the executable says it supports; raises UsageError when it does not say so."""
    try:
        said = subprocess.run(
            [str(plugin)],
            env={"CNI_COMMAND": "VERSION"},
            input=b'{"cniVersion":"1.0.0"}',
            capture_output=True,
            timeout=TIMEOUT,
            check=True,
        ).stdout
        return list(map(str, json.loads(said)["supportedVersions"]))
    except PermissionError as error:
        raise UsageError(
            f"the plugin may not be executed in {plugin.parent}, and was not installed ({error.strerror}): mount that "
            "without noexec, or have the machine's security policy permit it"
        ) from error
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"the plugin does not run on this machine, and was not installed ({error}): "
            "build it here with `make cni`, or use --python"
        ) from error
