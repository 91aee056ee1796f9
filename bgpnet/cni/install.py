"""Puts the plugin where the container runtime looks for it: whole, tried out, and in one step."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from bgpnet.errors import UsageError

NAME = "bgpnet"
"""The executable's name, which is the `type` in network configurations."""
PROGRAM = Path("build/cni/bgpnet")
BIN_DIR = Path("/opt/cni/bin")
TWIN = Path(__file__).with_name("plugin.py")
INTERPRETER = Path("/usr/bin/python3")
TIMEOUT = 30.0

_COMPILE = """
import binascii, marshal, sys
code = compile(sys.stdin.buffer.read(), "bgpnet", "exec", optimize=2, dont_inherit=True)
magic = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
print(repr(magic), repr(binascii.b2a_base64(marshal.dumps(code), newline=False)))
"""

_FROZEN = """#!{interpreter} -ISE
# bgpnet's CNI plugin in Python, compiled ahead: an executed script is otherwise compiled anew at each start.
import binascii, marshal, sys
if sys.modules["_frozen_importlib_external"].MAGIC_NUMBER == {magic}:
    exec(marshal.loads(binascii.a2b_base64({code})))
else:  # another Python than it was compiled by
    exec({source!r})
"""


def read_program(path: Path) -> bytes:
    """The compiled plugin; raises UsageError where there is none."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"--from {path}: {error.strerror}; build it with `make cni`, name another file, or use --python"
        ) from error


def freeze(twin: Path = TWIN, interpreter: Path = INTERPRETER) -> bytes:
    """The Python twin as one executable file, compiled by the interpreter that will run it; raises UsageError.

    The source goes with it, for the day when that interpreter is upgraded.
    """
    source = twin.read_bytes()
    command = [str(interpreter), "-ISE", "-c", _COMPILE]
    try:
        made = subprocess.run(command, input=source, capture_output=True, timeout=TIMEOUT, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"--python needs {interpreter}, which does not run ({error}): install python3") from error
    magic, code = made.decode().split()
    return _FROZEN.format(interpreter=interpreter, magic=magic, code=code, source=source.decode()).encode()


def install(program: bytes, bin_dir: Path = BIN_DIR) -> Path:
    """Writes the plugin beside its place, tries it, and renames it there: the path. Raises UsageError.

    Whoever executes the old one meanwhile goes on with it, and nobody ever sees half a file.
    """
    try:
        bin_dir.mkdir(parents=True, exist_ok=True)
        descriptor, unnamed = tempfile.mkstemp(prefix=f".{NAME}-", dir=bin_dir)
    except OSError as error:
        raise UsageError(f"--bin-dir {bin_dir}: {error.strerror}; name a directory that can be written") from error
    try:
        with open(descriptor, "wb") as file:
            file.write(program)
            file.flush()
            os.fchmod(descriptor, 0o755)
            os.fsync(descriptor)
        try_version(Path(unnamed))
        return Path(unnamed).rename(bin_dir / NAME)
    except OSError as error:
        raise UsageError(f"--bin-dir {bin_dir}: {error.strerror}; make room there, or name another") from error
    finally:
        Path(unnamed).unlink(missing_ok=True)


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
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"the plugin does not run on this machine, and was not installed ({error}): "
            "build it here with `make cni`, or use --python"
        ) from error
