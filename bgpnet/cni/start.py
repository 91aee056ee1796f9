"""What the twin's interpreter loads at its start in place of the package `encodings`: UTF-8 alone, and the plugin.

It lies as `encodings.py` in the interpreter's home beside the plugin: see home.py. The package of the standard library
lists 330 files and makes a table of as many names, which is a fifth of Python's start. It is there for who needs it:
a node whose locale is not UTF-8 loads it by the first look for another encoding.

This is the first of the modules that Python loads from files. When the interpreter is to execute a plugin, that runs
from here, and ends the process: a tenth of the start, which would make what it does not need, never comes. So there
are no standard streams and no `open` yet, and `_signal` must not be imported (before its time it crashes). What the
first line of the plugin says is what another Python executes, which knows nothing of this file.
"""

import _codecs
import faulthandler
import marshal
import posix
import sys

LOADER, CODE = 256, 640  # as in frozen.py
SIGPIPE, SIGXFSZ = 13, 25  # asm-generic/signal.h
LIMIT = 1 << 20  # bytes of a plugin in Python


class Utf8:
    """An incremental encoder and decoder: what standard input, output and error are made with."""

    def __init__(self, errors: str = "strict") -> None:
        self.errors = errors
        self.rest = b""  # of a letter whose end has not come yet

    def decode(self, data: bytes, final: bool = False) -> str:
        """The text that the bytes so far complete."""
        data = self.rest + data
        text, used = _codecs.utf_8_decode(data, self.errors, final)
        self.rest = data[used:]
        return text

    def encode(self, text: str, _final: bool = False) -> bytes:
        """The text's bytes."""
        return _codecs.utf_8_encode(text, self.errors)[0]

    def reset(self) -> None:
        """Forgets what it has begun."""
        self.rest = b""

    def getstate(self) -> tuple[bytes, int]:
        """What setstate takes, of a decoder."""
        return self.rest, 0

    def setstate(self, state: tuple[bytes, int] | int) -> None:
        """Goes on from there; a number is an encoder's."""
        self.rest = b"" if isinstance(state, int) else state[0]


class Codec(tuple[object, ...]):
    """What the interpreter asks of a codec, as `codecs.CodecInfo` has it."""

    _is_text_encoding = True
    name = "utf-8"
    incrementalencoder = incrementaldecoder = Utf8


UTF8 = Codec((_codecs.utf_8_encode, _codecs.utf_8_decode, None, None))


def find(name: str) -> object:
    """The codec of that name: ours, or the standard library's, beside whose extensions' folder it lies."""
    if name in ("utf-8", "utf_8", "utf8"):
        return UTF8
    sys.path.insert(0, posix.readlink(sys.path[-1]).rpartition("/")[0])
    del sys.modules["encodings"]
    import encodings

    return encodings.search_function(name)


def outlive_signals() -> None:
    """Has SIGPIPE and SIGXFSZ end nothing, as Python does later in its start: who writes learns it from errno.

    To ignore them takes `_signal`; a handler that writes to nowhere where the process stood does as well.
    """
    nowhere = posix.open("/dev/null", posix.O_WRONLY)
    for number in SIGPIPE, SIGXFSZ:
        faulthandler.register(number, nowhere, all_threads=False)


def run(path: str) -> None:
    """Executes the plugin, as its first line would: meanwhile that may be another version, or the compiled program."""
    outlive_signals()
    descriptor = posix.open(path, posix.O_RDONLY)
    file = posix.read(descriptor, LIMIT)
    posix.close(descriptor)
    if file[:1] != b"#":
        posix.execv(path, [path])
    magic, source, _ = file[LOADER:CODE].split(b" ", 2)
    if magic == b"#" + sys.modules["_frozen_importlib_external"].MAGIC_NUMBER.hex().encode():
        # The same that the loader comes to, which takes longer to compile.
        code = marshal.loads(file[CODE : int(source)])  # noqa: S302 # root's own, who executed it
    else:
        code = file[LOADER:CODE]
    exec(code, {"__name__": "__main__", "file": file})  # noqa: S102


if sys.argv[1:]:
    run(sys.argv[1])
_codecs.register(find)  # type: ignore[arg-type] # it asks for those attributes
