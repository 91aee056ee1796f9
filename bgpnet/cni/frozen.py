"""The plugin's twin in Python as one executable file: compiled, with its source behind it."""

from __future__ import annotations

import binascii
import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from bgpnet.errors import UsageError

TWIN = tuple(Path(__file__).with_name(name) for name in ("jsontext.py", "tombstone.py", "plugin.py"))
INTERPRETER = Path("/usr/bin/python3")
TIMEOUT = 30.0

_COMPILE = """
import __future__, binascii, marshal, sys
text = __future__.annotations.compiler_flag  # annotations are only read
code = compile(sys.stdin.buffer.read(), "bgpnet", "exec", text, optimize=2, dont_inherit=True)
magic = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
print(magic.hex(), binascii.b2a_base64(marshal.dumps(code), newline=False).decode())
"""

# The program is its own first line's argument: Python would look for a ZIP archive in an executed file, and compile it.
# Another version may take the file's place between the kernel's look at that line and Python's at the file. So what the
# line says of the file holds for every version: where the loader stands, which knows of its own file where the rest is.
# What begins with no `#` is the compiled program (0x7f), and is executed in this one's place: nothing was read yet.
_FIRST = b"-IScimport sys,posix;f=sys.argv[1];(file:=open(f,'rb').read())<b'$'or posix.execv(f,[f]);exec(file[%d:%d])"
# From a home, start.py does that, and the line is for another Python than the home was made for.
_FIRST_FROM_HOME = b"-IScimport sys;exec((file:=open(sys.argv[1],'rb').read())[%d:%d])"
_LOADER = """#{mark} {source} is what start.py reads of this: for which Python, and up to where
import marshal, sys
if sys.modules["_frozen_importlib_external"].MAGIC_NUMBER == bytes.fromhex("{mark}"):
    exec(marshal.loads(file[{code}:{source}]))
else:  # another Python than it was compiled by
    exec(b"from __future__ import annotations\\n" + file[{source}:])
"""
LAYOUTS = ((128, 512), (256, 640))
"""Where the loader and the code begin behind the first line: the second, where a home's path makes that longer."""


class Compiled(NamedTuple):
    """What an interpreter made of a source: its own magic number, and the marshalled code object."""

    magic: bytes
    code: bytes


def source() -> bytes:
    """The Python twin's: its files one after the other, without the lines by which the last imports the others."""
    return re.sub(rb"(?m)^from bgpnet\.cni\.\w+ import .*\n", b"", b"".join(path.read_bytes() for path in TWIN))


def compiled(text: bytes, interpreter: Path = INTERPRETER) -> Compiled:
    """The source, compiled by the interpreter that will run it; raises UsageError."""
    command = [str(interpreter), "-ISE", "-c", _COMPILE]
    try:
        made = subprocess.run(command, input=text, capture_output=True, timeout=TIMEOUT, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"--python needs {interpreter}, which does not run ({error}): install python3") from error
    magic, code = made.split()
    return Compiled(bytes.fromhex(magic.decode()), binascii.a2b_base64(code))


def freeze(twin: bytes = b"", interpreter: Path = INTERPRETER, link: Path | None = None) -> bytes:
    """The Python twin as one executable file; raises UsageError.

    twin: another source than its own, which goes with it for the day when the interpreter is upgraded. link: of a home,
    which the kernel then executes for the interpreter.
    """
    twin = twin or source()
    magic, code = compiled(twin, interpreter)
    first, loader_at, code_at = first_line(interpreter, link)
    loader = _LOADER.format(mark=magic.hex(), code=code_at, source=code_at + len(code)).encode()
    return (first.ljust(loader_at, b"\n") + loader).ljust(code_at, b"\n") + code + twin


def first_line(interpreter: Path, link: Path | None = None) -> tuple[bytes, int, int]:
    """By which the kernel executes it, with its end, and the layout; raises UsageError, if the kernel would cut it off.

    Since 5.1 it takes the second layout's first line, too: linux/binfmts.h, BINPRM_BUF_SIZE.
    """
    path = os.fsencode(link or interpreter)
    layouts = LAYOUTS if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (5, 1) else LAYOUTS[:1]
    for loader_at, code_at in layouts:
        line = b"#!%b %b\n" % (path, (_FIRST_FROM_HOME if link else _FIRST) % (loader_at, code_at))
        if len(line) <= loader_at and path.split() == [path]:  # the kernel ends it at a space
            return line, loader_at, code_at
    raise UsageError(
        f"--python: a program's first line cannot name {os.fsdecode(path)}, which has spaces, or more than "
        f"{layouts[-1][0] - len(line) + len(path)} bytes: link it from elsewhere"
    )
