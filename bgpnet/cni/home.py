"""A home for the twin's interpreter: Python's own way to start from another library than the machine's.

`.bgpnet` beside the plugin, laid out as a virtual environment is: a link to the machine's interpreter, `pyvenv.cfg`
that names the folder as the library's home, and in that library `encodings.pyc` (start.py) with what marks a library as
one. It spares a quarter of what Python does until the plugin has ended. After an upgrade of Python, whose new version
finds no library of its name there, the interpreter takes the machine's, as it would without.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bgpnet import files
from bgpnet.cni.frozen import INTERPRETER, compiled, first_line, freeze
from bgpnet.errors import UsageError

FOLDER = ".bgpnet"
START = Path(__file__).with_name("start.py")
FOLDER_MODE, MODE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644
IDLE = 60.0
"""Seconds after which nobody is about to execute a plugin that was replaced."""
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
    start: bytes
    """start.py, as Python keeps a module that it has compiled."""

    @property
    def python(self) -> Path:
        """What starts from here."""
        return self.folder / "python3"

    def folders(self) -> dict[Path, set[str]]:
        """Each folder, the outer first, and what is in it."""
        inside = {
            self.folder: {self.library.parent.name},
            self.library.parent: {self.library.name},
            self.library: set(),
        }
        for path in (*self.links(), *self.files()):
            inside[path.parent].add(path.name)
        return inside

    def links(self) -> dict[Path, Path]:
        """The symbolic links, and where they lead."""
        return {self.python: self.interpreter, self.library / "lib-dynload": self.extensions}

    def files(self) -> dict[Path, bytes]:
        """The files, and what is in them."""
        return {
            self.folder / "pyvenv.cfg": b"home = %b\n" % bytes(self.folder),
            self.library / "os.py": b"# by this name Python knows a library\n",
            self.library / "encodings.pyc": self.start,
        }

    def make(self) -> None:
        """Make or mend it, each file in one step; what is right stays. Raises OSError.

        Where anybody else has or could have put something, all of it is made anew.
        """
        if self._is_touched():
            remove(self.folder.parent)
        for folder in self.folders():
            folder.mkdir(mode=stat.S_IMODE(FOLDER_MODE), exist_ok=True)
            folder.chmod(stat.S_IMODE(FOLDER_MODE))
        for path, target in self.links().items():
            files.sweep(path)
            if not _leads(path, target):
                files.link(path, target)
        for path, data in self.files().items():
            files.sweep(path)
            if not _holds(path, data):
                files.replace(path, data, stat.S_IMODE(MODE))

    def is_whole(self) -> bool:
        """Whether it is all there and nothing else, and nobody else can change it."""
        links = all(_leads(path, target) for path, target in self.links().items())
        return links and all(_holds(path, data) for path, data in self.files().items()) and not self._is_touched()

    def _is_touched(self) -> bool:
        """Whether anything there is another's, open to others, of another kind, or unknown.

        Names that begin with a dot are no module's: those are of unfinished files.
        """
        for folder, inside in self.folders().items():
            if not os.path.lexists(folder):
                break
            found = {name for name in os.listdir(folder) if name[0] != "."} if _is_ours(folder, FOLDER_MODE) else {""}
            if found - inside:
                return True
        there = [path for path in self.files() if os.path.lexists(path)]
        linked = [path for path in self.links() if os.path.lexists(path)]
        return not all(_is_ours(path, MODE) for path in there) or not all(
            path.is_symlink() and path.lstat().st_uid == os.geteuid() for path in linked
        )


def beside(bin_dir: Path, interpreter: Path = INTERPRETER) -> Home:
    """The home that the interpreter would have there; raises UsageError, if that does not say where its library is."""
    try:
        said = subprocess.run(
            [str(interpreter), "-ISc", _ASK], capture_output=True, timeout=TIMEOUT, check=True, text=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"--home: {interpreter} does not say where its library is ({error})") from error
    libraries, major, minor, extensions = said.stdout.strip().split(" ", 3)
    folder = bin_dir.absolute() / FOLDER
    magic, code = compiled(START.read_bytes(), interpreter)
    library = folder / libraries / f"python{major}.{minor}"
    return Home(folder, interpreter, library, Path(extensions), magic + bytes(12) + code)  # PEP 552: no source


def find(bin_dir: Path, interpreter: Path = INTERPRETER) -> Home:
    """The home that the twin's interpreter can have there; raises UsageError where none works, as tried elsewhere."""
    home = beside(bin_dir, interpreter)
    first_line(interpreter, home.python)
    if not bytes(home.folder).isascii():
        raise UsageError(f"--home: {home.folder} is not ASCII: name such a directory")
    try:
        with tempfile.TemporaryDirectory() as elsewhere:
            _try(beside(Path(elsewhere), interpreter))
    except OSError as error:
        raise UsageError(f"--home cannot be tried out in a temporary directory: {error}") from error
    return home


def _try(home: Home) -> None:
    """Makes it, and runs the twin from it; raises OSError and UsageError.

    That has to come before its first line's own script, and to say nothing else.
    """
    home.make()
    plugin = home.folder.parent / "plugin"
    plugin.write_bytes(freeze(interpreter=home.interpreter))
    said = rb'{"cniVersion": "1.0.0", "for _json": "\u0061"}'
    command = [str(home.python), "-ISc", "raise SystemExit(9)", str(plugin)]
    try:
        done = subprocess.run(command, env={"CNI_COMMAND": "VERSION"}, input=said, capture_output=True, timeout=TIMEOUT)
    except subprocess.SubprocessError as error:
        raise UsageError(f"--home: {home.interpreter} does not end that starts from one ({error})") from error
    if done.returncode or b'"supportedVersions"' not in done.stdout or done.stderr:
        raise UsageError(f"--home: {home.interpreter} does not start from one: Python 3.11 does, and newer")


def is_used(plugin: Path) -> bool:
    """Whether the plugin that is there starts from a home, by its first line."""
    try:
        with plugin.open("rb") as file:
            return re.match(rb"#!\S*/%b/" % re.escape(FOLDER).encode(), file.readline(256)) is not None
    except OSError:
        return False


def is_idle(plugin: Path) -> bool:
    """Whether the plugin that is there starts from no home, and has been there for a minute."""
    try:
        return not is_used(plugin) and time.time() - plugin.stat().st_mtime > IDLE
    except OSError:
        return False


def remove(bin_dir: Path) -> list[Path]:
    """Remove the home that is beside the plugin: its path, if there was one. Raises OSError."""
    folder = bin_dir / FOLDER
    try:
        if stat.S_ISDIR(folder.lstat().st_mode):
            shutil.rmtree(folder)
        else:
            folder.unlink()
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
        return _is_ours(path, MODE) and path.read_bytes() == data
    except OSError:
        return False


def _is_ours(path: Path, mode: int) -> bool:
    """Whether it is of that kind and mode, and this process's user's."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return found.st_mode == mode and found.st_uid == os.geteuid()


def is_foreign(bin_dir: Path) -> bool:
    """Whether it may be another folder to who executes the plugin: this is a pod, or it is bound from elsewhere.

    That Docker's files lie about says nothing: a node can be a container itself, as kind's are. A subvolume (btrfs) and
    what is bound to its own name are no other folders.
    """
    place = os.path.realpath(bin_dir)
    try:
        mounts = [line.split()[3:5] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    except OSError:
        return True
    above = [(len(point), number) for number, (_, point) in enumerate(mounts) if Path(place).is_relative_to(point)]
    if not above or "KUBERNETES_SERVICE_HOST" in os.environ:
        return True
    root, point = mounts[max(above)[1]]
    return not (root == "/" or point == "/" or root.endswith(point))
