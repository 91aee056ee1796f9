"""A home for the twin's interpreter: Python's own way to start from another library than the machine's.

`.bgpnet` beside the plugin, laid out as a virtual environment is: a link to the machine's interpreter, `pyvenv.cfg`
that names the folder as the library's home, and in that library `encodings.pyc` (start.py) with what marks a library as
one.

It spares a quarter of the instructions of an ADD. After an upgrade of Python, whose new version finds no library of its
name there, the interpreter takes the machine's, as it would without.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bgpnet import files, mountinfo
from bgpnet.cni.frozen import INTERPRETER, compiled, first_line, freeze
from bgpnet.errors import UsageError

FOLDER = ".bgpnet"
START = Path(__file__).with_name("start.py")
FOLDER_MODE, MODE, LINK_MODE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777
_UNFINISHED = ".unfinished-bgpnet-"
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
    """Its own, by its path in the folder."""
    extensions: Path
    """The machine's folder of modules written in C."""
    start: bytes
    """start.py, as Python keeps a module that it has compiled."""

    @property
    def python(self) -> Path:
        """What starts from here."""
        return self.folder / "python3"

    def folders(self) -> dict[Path, set[str]]:
        """Each folder, the outer first, and what is in it; by their paths in the home, as in links and files."""
        libraries = self.library.parent
        inside = {Path(): {libraries.name}, libraries: {self.library.name}, self.library: set()}
        for path in (*self.links(), *self.files()):
            inside[path.parent].add(path.name)
        return inside

    def links(self) -> dict[Path, Path]:
        """The symbolic links, and where they lead."""
        return {Path(self.python.name): self.interpreter, self.library / "lib-dynload": self.extensions}

    def files(self) -> dict[Path, bytes]:
        """The files, and what is in them."""
        return {
            Path("pyvenv.cfg"): b"home = %b\n" % bytes(self.folder),
            self.library / "os.py": b"# by this name Python knows a library\n",
            self.library / "encodings.pyc": self.start,
        }

    def make(self) -> None:
        """Make or mend it, each file in one step; what is right stays. Raises OSError.

        Where anybody else has or could have put something, all of it is made anew beside it, and takes its place: in
        the moment between two renames, there is none.
        """
        for left in self.folder.parent.glob(f"{_UNFINISHED}*"):  # by who was killed
            shutil.rmtree(left)
        if not self._is_touched():
            self._fill(self.folder)
            return
        with TemporaryDirectory(prefix=_UNFINISHED, dir=self.folder.parent) as place:
            fresh = Path(place) / "fresh"
            self._fill(fresh)
            self.folder.rename(Path(place) / "old")
            fresh.rename(self.folder)

    def _fill(self, root: Path) -> None:
        for folder in self.folders():
            (root / folder).mkdir(mode=stat.S_IMODE(FOLDER_MODE), exist_ok=True)
            (root / folder).chmod(stat.S_IMODE(FOLDER_MODE))
        for path in (*self.links(), *self.files()):
            files.sweep(root / path)
        for path, target in self.links().items():
            if not _leads(root / path, target):
                files.link(root / path, target)
        for path, data in self.files().items():
            if not _holds(root / path, data):
                files.replace(root / path, data, stat.S_IMODE(MODE))

    def is_whole(self) -> bool:
        """Whether it is all there and nothing else, and nobody else can change it."""
        links = all(_leads(self.folder / path, target) for path, target in self.links().items())
        held = all(_holds(self.folder / path, data) for path, data in self.files().items())
        return links and held and not self._is_touched()

    def _is_touched(self) -> bool:
        """Whether anything there is another's, open to others, of another kind, or unknown.

        Names that begin with a dot are no module's: those are of unfinished files.
        """
        for folder, inside in self.folders().items():
            place = self.folder / folder
            if not os.path.lexists(place):
                break
            if not _is_ours(place, FOLDER_MODE) or {name for name in os.listdir(place) if name[0] != "."} - inside:
                return True
        modes = dict.fromkeys(self.files(), MODE) | dict.fromkeys(self.links(), LINK_MODE)
        there = {self.folder / path: mode for path, mode in modes.items() if os.path.lexists(self.folder / path)}
        return not all(_is_ours(path, mode) for path, mode in there.items())


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
    library = Path(libraries, f"python{major}.{minor}")
    return Home(folder, interpreter, library, Path(extensions), magic + bytes(12) + code)  # PEP 552: no source


def find(bin_dir: Path, interpreter: Path = INTERPRETER) -> Home:
    """The home that the twin's interpreter can have there; raises UsageError where none works, as tried elsewhere."""
    home = beside(bin_dir, interpreter)
    first_line(interpreter, home.python)
    if not bytes(home.folder).isascii():
        raise UsageError(f"--home: {home.folder} is not ASCII: name such a directory")
    try:
        with TemporaryDirectory() as elsewhere:
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
    """Remove the home that is beside the plugin, and unfinished ones: the paths. Raises OSError."""
    removed = []
    for path in (bin_dir / FOLDER, *bin_dir.glob(f"{_UNFINISHED}*")):
        try:
            if stat.S_ISDIR(path.lstat().st_mode):
                shutil.rmtree(path)
            else:
                path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            continue
        removed.append(path)
    return removed


def _leads(path: Path, target: Path) -> bool:
    try:
        return path.readlink() == target
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

    That Docker's files lie about says nothing: a node can be a container itself, as kind's are.
    """
    try:
        mounts = mountinfo.parse(Path("/proc/self/mountinfo").read_text())
    except OSError:
        return True
    return "KUBERNETES_SERVICE_HOST" in os.environ or mountinfo.is_bound(os.path.realpath(bin_dir), mounts)
