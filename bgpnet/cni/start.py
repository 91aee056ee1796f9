"""What the twin's interpreter loads at its start in place of the package `encodings`: it runs the plugin.

It lies compiled as `encodings.pyc` in the interpreter's home beside the plugin (home.py): the first module that Python
loads from a file. The plugin ends the process, so the rest of Python's start never comes, a tenth of it, nor does the
package, a fifth. It has what it needs: UTF-8 is written in C. It does not have standard streams, nor `open`, nor any
codec written in Python, and must not import `_signal`, which crashes before its time.

Another Python than it was compiled for does not find it, and executes the plugin by that one's first line.
"""

import faulthandler
import marshal
import posix
import sys

LIMIT = 1 << 20  # bytes of a plugin in Python
SIGPIPE, SIGXFSZ = 13, 25  # asm-generic/signal.h
NOWHERE = 0x7FFFFFFF  # a descriptor that no process has


def outlive_signals() -> None:
    """Has SIGPIPE and SIGXFSZ end nothing, as Python does later in its start: who writes learns it from errno.

    To ignore them takes `_signal`; a handler that tells nobody where the process stood does as well.
    """
    for number in SIGPIPE, SIGXFSZ:
        faulthandler.register(number, NOWHERE, all_threads=False)


def run(path: str) -> None:
    """Executes the plugin, as its first line would: meanwhile that may be another version, or the compiled program."""
    descriptor = posix.open(path, posix.O_RDONLY)
    file = posix.read(descriptor, LIMIT)
    posix.close(descriptor)
    if file[:1] != b"#":
        posix.execv(path, [path])
    outlive_signals()
    loader, code = (128, 512) if b"\n" in file[:128] else (256, 640)  # as in frozen.py
    magic, source, _ = file[loader:code].split(b" ", 2)
    if magic == b"#" + sys.modules["_frozen_importlib_external"].MAGIC_NUMBER.hex().encode():
        # The same that the loader comes to, which takes longer to compile.
        frozen = marshal.loads(file[code : int(source)])  # noqa: S302 # root's own, who executed it
    else:
        frozen = file[loader:code]
    try:
        exec(frozen, {"__name__": "__main__", "file": file})  # noqa: S102
    except ImportError:  # another build of this Python than the home was made for: it knows its own library
        link, *line = sys.orig_argv
        posix.execv(posix.readlink(link), ["python3", *line])


if __name__ == "encodings":
    run(sys.argv[1])
