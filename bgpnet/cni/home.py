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
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bgpnet import files
from bgpnet.cni.frozen import INTERPRETER, LOADER, first_line, freeze, longest_first_line

FOLDER = ".bgpnet"
START = Path(__file__).with_name("start.py")
MODE = 0o644
TIMEOUT = 30.0
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


def find(bin_dir: Path, interpreter: Path = INTERPRETER) -> Home | None:
    """The home that the twin's interpreter can have there; None where none works, as tried elsewhere."""
    home = beside(bin_dir, interpreter)
    if home is None:
        return None
    line = first_line(home.python)
    if len(line) > longest_first_line() or not line.isascii() or line.split()[0] != b"#!%b" % bytes(home.python):
        return None
    with tempfile.TemporaryDirectory() as elsewhere:
        return home if _works(Path(elsewhere), interpreter) else None


def _works(folder: Path, interpreter: Path) -> bool:
    """Makes one there, and tries whether the twin runs from it, before its first line's script, and says no more."""
    trial, plugin = beside(folder, interpreter), folder / "plugin"
    if trial is None:
        return False
    plugin.write_bytes(freeze())
    said = r'{"cniVersion": "1.0.0", "for _json": "\u0061"}'
    command = [str(trial.python), "-ISc", "raise SystemExit(9)", str(plugin)]
    try:
        trial.make()
        done = subprocess.run(
            command, env={"CNI_COMMAND": "VERSION"}, input=said.encode(), capture_output=True, timeout=TIMEOUT
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and b'"supportedVersions"' in done.stdout and not done.stderr


def is_used(plugin: Path) -> bool:
    """Whether the plugin that is there starts from the home beside it, by its first line."""
    try:
        with plugin.open("rb") as file:
            return file.read(LOADER).startswith(b"#!%b/" % bytes(plugin.parent.absolute() / FOLDER))
    except OSError:
        return False


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


def is_foreign(bin_dir: Path) -> bool:
    """Whether it may be another folder to who executes the plugin: this is a pod, or it is bound from elsewhere.

    That Docker's files lie about says nothing: a node can be a container itself, as kind's are.
    """
    place = bin_dir.resolve()
    mounts = [line.split()[3:5] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    above = [(len(point), number) for number, (_, point) in enumerate(mounts) if place.is_relative_to(point)]
    root, point = mounts[max(above)[1]]
    return "KUBERNETES_SERVICE_HOST" in os.environ or (root != "/" and point != "/")
