"""A home for the twin's interpreter: Python's own way to start from another library than the machine's.

`.bgpnet` beside the plugin, laid out as a virtual environment is: a link to the machine's interpreter, `pyvenv.cfg`
that names the folder as the library's home, and in that library `encodings.py` (start.py) with what marks a library as
one. It spares a sixth of what Python does until it runs the plugin. After an upgrade of Python, whose new version finds
no library of its name there, the interpreter takes the machine's, as it would without (and says so on standard error).
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bgpnet import files

FOLDER = ".bgpnet"
START = Path(__file__).with_name("start.py")
LOADER, CODE = 256, 640
"""Where the loader and the code begin in a frozen twin, behind its first line: see install.freeze."""
MODE = 0o644
TIMEOUT = 30.0
_FIRST = b"-IScimport encodings as e;e.run()if hasattr(e,'run')else exec(open(e.sys.argv[1],'rb').read()[%d:%d])"
_ASK = "import sys; print(sys.platlibdir, *sys.version_info[:2], sys.path[-1])"
"""With -S, the last folder where modules are looked for is the one of those written in C."""


@dataclass(frozen=True)
class Home:
    """One interpreter's home."""

    folder: Path
    interpreter: Path
    """The machine's, that `python` leads to."""
    library: Path
    extensions: Path
    """The machine's folder of modules written in C."""

    @property
    def python(self) -> Path:
        """What starts from here."""
        return self.folder / "python3"

    @property
    def first_line(self) -> bytes:
        """Of a program that starts from here: by start.py, or as from elsewhere where another Python than then is."""
        return b"#!%b %b\n" % (bytes(self.python), _FIRST % (LOADER, CODE))

    def links(self) -> dict[Path, Path]:
        """The symbolic links, and where they lead."""
        return {self.python: self.interpreter, self.library / "lib-dynload": self.extensions}

    def files(self) -> dict[Path, bytes]:
        """The files, and what is in them. What Python compiles of them lies in `__pycache__`, by its own rules."""
        return {
            self.folder / "pyvenv.cfg": b"home = %b\n" % bytes(self.folder),
            self.library / "os.py": b"# by this name Python knows a library\n",
            self.library / "encodings.py": START.read_bytes(),
        }

    def make(self) -> None:
        """Make or mend it, each file in one step; what is right stays. Raises OSError."""
        for folder in self._folders():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        for path in (*self.links(), *self.files()):
            files.sweep(path)
        for path, target in self.links().items():
            if not _leads(path, target):
                files.link(path, target)
        for path, data in self.files().items():
            if not _holds(path, data):
                files.replace(path, data, MODE)

    def is_whole(self) -> bool:
        """Whether all of it is there, and nobody else can change it."""
        links = all(_leads(path, target) for path, target in self.links().items())
        folders = all(_ours(folder, stat.S_IFDIR | 0o755) for folder in self._folders())
        return folders and links and all(_holds(path, data) for path, data in self.files().items())

    def works(self) -> bool:
        """Makes it, and tries whether this machine's Python starts from it, without a word."""
        command = [str(self.python), "-ISc", "import encodings; encodings.run; import _json"]
        try:
            self.make()
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=True)
        except (OSError, subprocess.SubprocessError):
            return False
        return not done.stdout + done.stderr

    def _folders(self) -> list[Path]:
        return [self.folder, self.library.parent, self.library]


def beside(bin_dir: Path, interpreter: Path) -> Home | None:
    """The home that the interpreter would have there; None if it does not say where its library is."""
    try:
        said = subprocess.run(
            [str(interpreter), "-ISc", _ASK], capture_output=True, timeout=TIMEOUT, check=True, text=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    libraries, major, minor, extensions = said.stdout.strip().split(" ", 3)
    folder = bin_dir.absolute() / FOLDER
    return Home(folder, interpreter, folder / libraries / f"python{major}.{minor}", Path(extensions))


def remove(bin_dir: Path) -> list[Path]:
    """Remove the home that is beside the plugin: its path, if there was one. Raises OSError."""
    folder = bin_dir / FOLDER
    try:
        shutil.rmtree(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder]


def _leads(path: Path, target: Path) -> bool:
    try:
        return path.readlink() == target and path.lstat().st_uid == os.geteuid()
    except OSError:
        return False


def _holds(path: Path, data: bytes) -> bool:
    try:
        return _ours(path, stat.S_IFREG | MODE) and path.read_bytes() == data
    except OSError:
        return False


def _ours(path: Path, mode: int) -> bool:
    """Whether it is of that kind and mode, and this process's user's."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return found.st_mode == mode and found.st_uid == os.geteuid()
