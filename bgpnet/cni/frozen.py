"""The plugin's twin in Python as one executable file, compiled, with its source behind it."""

from __future__ import annotations

import binascii
import os
import re
import subprocess
from pathlib import Path

from bgpnet.errors import UsageError

TWIN = tuple(Path(__file__).with_name(name) for name in ("jsontext.py", "plugin.py"))
_IMPORT = b"from bgpnet.cni.jsontext import read_object\n"
INTERPRETER = Path("/usr/bin/python3")
TIMEOUT = 30.0

_COMPILE = """
import __future__, binascii, marshal, sys
text = __future__.annotations.compiler_flag  # annotations are only read
code = compile(sys.stdin.buffer.read(), "bgpnet", "exec", text, optimize=2, dont_inherit=True)
magic = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
print(repr(magic), magic.hex(), binascii.b2a_base64(marshal.dumps(code), newline=False).decode())
"""

# The program is its own first line's argument: Python would look for a ZIP archive in an executed file, and compile it.
# Another version may take the file's place between the kernel's look at that line and Python's at the file. So what the
# line says of the file holds for every version: where the loader stands, which knows of its own file where the rest is.
# What begins with no `#` is the compiled program (0x7f), and is executed in this one's place: nothing was read yet.
LOADER, CODE = 256, 640
"""Where the loader and the code begin, behind the first line."""
_FIRST = (
    b"-IScimport sys,posix;f=sys.argv[1];(file:=open(f,'rb').read())<b'$'or posix.execv(f,[f]);exec(file[%d:%d])"
) % (LOADER, CODE)
_LOADER = """#{mark} {source} is what start.py reads of this: for which Python, and up to where
import marshal, sys
if sys.modules["_frozen_importlib_external"].MAGIC_NUMBER == {magic}:
    exec(marshal.loads(file[{code}:{source}]))
else:  # another Python than it was compiled by
    exec(file[{source}:])
"""


def source() -> bytes:
    """The Python twin's: its files one after the other, without the line by which the second imports the first."""
    return b"".join(path.read_bytes() for path in TWIN).replace(_IMPORT, b"")


def freeze(twin: bytes = b"", interpreter: Path = INTERPRETER, link: Path | None = None) -> bytes:
    """The Python twin as one executable file, compiled by the interpreter that will run it; raises UsageError.

    twin: another source than its own, which goes with it for the day when the interpreter is upgraded. link: the name
    by which the kernel executes the interpreter.
    """
    twin = twin or source()
    command = [str(interpreter), "-ISE", "-c", _COMPILE]
    try:
        made = subprocess.run(command, input=twin, capture_output=True, timeout=TIMEOUT, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"--python needs {interpreter}, which does not run ({error}): install python3") from error
    magic, mark, code = made.split()
    compiled = binascii.a2b_base64(code)
    first = first_line(link or interpreter)
    if len(first) > longest_first_line():
        raise UsageError(f"--python: the path {interpreter} is too long for a program's first line: link a shorter one")
    loader = _LOADER.format(magic=magic.decode(), mark=mark.decode(), code=CODE, source=CODE + len(compiled)).encode()
    return (first.ljust(LOADER, b"\n") + loader).ljust(CODE, b"\n") + compiled + twin


def first_line(interpreter: Path) -> bytes:
    """By which the kernel executes it, with its end."""
    return b"#!%b %b\n" % (os.fsencode(interpreter), _FIRST)


def longest_first_line() -> int:
    """How many bytes of a program's first line, with its end, this kernel takes (linux/binfmts.h, BINPRM_BUF_SIZE)."""
    return LOADER if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (5, 1) else 128
