"""The note that a DEL leaves for an agent that is not there: tombstone.c's twin, in one file with plugin.py."""

import posix
import time


def make_folder(path: bytes, mode: int) -> None:
    """Makes a folder that may be there already."""
    try:
        posix.mkdir(path, mode)
    except FileExistsError:
        return


def unlink(path: bytes) -> None:
    """Removes a file that may be gone already: an agent that has just started honours notes, and takes them away."""
    try:
        posix.unlink(path)
    except OSError:
        return


def write_tombstone(socket: bytes, body: bytes) -> bytes:
    """Leaves the request's body beside the agent's socket, all of it or nothing: the file's path; raises OSError."""
    folder = socket[: socket.rindex(b"/")] + b"/tombstones"
    parts = folder.split(b"/")
    for count in range(2, len(parts) + 1):
        make_folder(b"/".join(parts[:count]), 0o700 if count == len(parts) else 0o755)
    unnamed = folder + b"/.new-%x" % (posix.getpid() * 1_000_000_000 + time.time_ns() % 1_000_000_000)
    path = folder + b"/" + posix.environ[b"CNI_CONTAINERID"] + b":" + posix.environ[b"CNI_IFNAME"]
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    file = posix.open(unnamed, flags, 0o600)
    try:
        text = memoryview(body)
        while text:
            text = text[posix.write(file, text) :]
        posix.close(file)
        posix.rename(unnamed, path)
    except OSError:
        unlink(unnamed)
        raise
    return path
