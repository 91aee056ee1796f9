"""The home from which the twin's interpreter starts, and what becomes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner

from bgpnet.cni import home as homes
from bgpnet.cni import install
from bgpnet.cni.frozen import INTERPRETER, freeze, source
from bgpnet.cni.home import Home
from bgpnet.cni.main import command
from bgpnet.errors import UsageError
from bgpnet.files import locked

ANSWER = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
OTHER = b"#!/bin/sh\necho '{\"supportedVersions\":[]}'\n"
CALL = {"CNI_COMMAND": "VERSION"}
ARCHIVE = "python{}{}.zip".format(*sys.version_info)


@pytest.fixture
def bins() -> Iterator[Path]:
    """A folder of plugins with a short path, as they have."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def home(bins: Path) -> Home:
    """One that is made, and a twin that starts from it."""
    made = homes.find(bins)
    install.install(freeze(link=made.python), bins, made)
    return made


def library(home: Home) -> Path:
    """Where its modules are."""
    return home.folder / home.library


def answers(bins: Path) -> bool:
    """Whether the plugin there runs, without a word on standard error."""
    done = subprocess.run([bins / "bgpnet"], env=CALL, input=b"{}", capture_output=True, timeout=30)
    return (done.returncode, done.stderr) == (0, b"") and b'"supportedVersions"' in done.stdout


def run(*arguments: object, code: int = 0) -> str:
    """What `bgpnet cni install` prints."""
    result = CliRunner().invoke(command, ["install", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_it_reads_one_module_of_its_own_and_none_of_the_machines(home: Home) -> None:
    line = [str(home.python), "-v", "-ISc", "raise SystemExit(9)", str(home.folder.parent / "bgpnet")]
    done = subprocess.run(line, env=CALL, input=b"{}", capture_output=True, timeout=30, text=False)
    read = [text for text in done.stderr.decode().splitlines() if text.startswith("# code object from")]
    assert (done.returncode, read) == (0, [f"# code object from '{library(home) / 'encodings.pyc'}'"])


@pytest.mark.parametrize("locale", ["", "C", "C.UTF-8", "none_such.ISO-8859-1"])
def test_in_any_locale(home: Home, locale: str) -> None:
    env = CALL | {"LC_ALL": locale, "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "\udcff"}
    ran = [
        subprocess.run([program, *more], env=env, input=b"{}", capture_output=True, timeout=30)
        for program, *more in ([str(home.folder.parent / "bgpnet")], [sys.executable, "-m", "bgpnet.cni.plugin"])
    ]
    assert (ran[0].returncode, ran[0].stdout, ran[0].stderr) == (ran[1].returncode, ran[1].stdout, b"")
    assert b"CNI_IFNAME" in ran[0].stdout


def test_another_python_takes_the_machines_library(home: Home) -> None:
    """As after an upgrade of the machine's, for which the home has no library."""
    library(home).rename(library(home).with_name("python3.0"))
    assert answers(home.folder.parent)
    assert not home.is_whole()


GAPS: dict[str, Callable[[Home], object]] = {
    "no interpreter": lambda home: home.python.unlink(),
    "another interpreter": lambda home: (home.python.unlink(), home.python.symlink_to("/bin/true")),
    "no configuration": lambda home: (home.folder / "pyvenv.cfg").unlink(),
    "half a module": lambda home: os.truncate(library(home) / "encodings.pyc", 400),
    "no modules in C": lambda home: (library(home) / "lib-dynload").unlink(),
}
DAMAGES: dict[str, Callable[[Home], object]] = {
    "an open file": lambda home: (library(home) / "encodings.pyc").chmod(0o666),
    "an open folder": lambda home: library(home).chmod(0o777),
    "no library": lambda home: shutil.rmtree(library(home)),
    "nothing": lambda home: shutil.rmtree(home.folder),
    "a file for a link": lambda home: (home.python.unlink(), home.python.write_text("")),
    "a folder for a link": lambda home: (home.python.unlink(), home.python.mkdir()),
    "a folder for a file": lambda home: ((home.folder / "pyvenv.cfg").unlink(), (home.folder / "pyvenv.cfg").mkdir()),
    "a folder for a file, and no library": lambda home: (
        shutil.rmtree(library(home).parent),
        (home.folder / "pyvenv.cfg").unlink(),
        (home.folder / "pyvenv.cfg").mkdir(),
    ),
    "a package before the module": lambda home: (library(home) / "encodings").mkdir(),
    "a module before the module": lambda home: (library(home) / "encodings.py").write_text("evil"),
    "an archive before the library": lambda home: (library(home).parent / ARCHIVE).write_text("evil"),
    "a file for it all": lambda home: (shutil.rmtree(home.folder), home.folder.write_text("")),
}


@pytest.mark.parametrize("damage", GAPS)
def test_what_is_amiss_is_seen_and_mended_and_what_is_right_stays(home: Home, damage: str) -> None:
    assert home.is_whole()
    kept = (library(home) / "os.py").stat().st_ino
    GAPS[damage](home)
    assert not home.is_whole()
    run("--python", "--home", "--bin-dir", home.folder.parent)
    assert (home.is_whole(), answers(home.folder.parent)) == (True, True)
    assert (library(home) / "os.py").stat().st_ino == kept


@pytest.mark.parametrize("damage", DAMAGES)
def test_where_somebody_else_could_have_put_something_all_is_made_anew(home: Home, damage: str) -> None:
    DAMAGES[damage](home)
    assert not home.is_whole()
    run("--python", "--home", "--bin-dir", home.folder.parent)
    assert (home.is_whole(), answers(home.folder.parent)) == (True, True)


@pytest.mark.root
@pytest.mark.parametrize("what", ["", "lib", "pyvenv.cfg", "python3"])
def test_what_is_anothers_is_made_anew(home: Home, what: str) -> None:
    os.chown(home.folder / what, 65534, 65534, follow_symlinks=False)
    assert not home.is_whole()
    home.make()
    assert (home.is_whole(), answers(home.folder.parent)) == (True, True)


def test_a_link_in_its_place_is_not_followed(home: Home, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("of somebody")
    tmp_path.chmod(0o700)
    shutil.rmtree(home.folder)
    for work in (home.make, lambda: homes.remove(home.folder.parent)):
        if not home.folder.exists():
            home.folder.symlink_to(tmp_path)
        else:
            shutil.rmtree(home.folder)
            home.folder.symlink_to(tmp_path)
        work()
        assert (os.listdir(tmp_path), tmp_path.stat().st_mode & 0o777) == (["precious"], 0o700)
        assert not home.folder.is_symlink()


def test_whatever_the_umask_nobody_else_may_write_there(bins: Path) -> None:
    for mask in (0, 0o077):
        with umask(mask):
            run("--python", "--home", "--bin-dir", bins / f"{mask}")
        assert answers(bins / f"{mask}")
        for path in (bins / f"{mask}", *(bins / f"{mask}").rglob("*")):
            assert path.is_symlink() or path.stat().st_mode & 0o022 == 0, path
        assert homes.find(bins / f"{mask}").is_whole()


def test_what_killed_installers_left_in_it_goes(home: Home) -> None:
    """Files that were not finished, and the whole of one."""
    left = [home.folder / ".pyvenv.cfg-x", library(home) / ".encodings.pyc-x"]
    for one in left:
        one.write_text("half")
        os.utime(one, (1, 1))
    (home.folder.parent / ".unfinished-bgpnet-x/fresh").mkdir(parents=True)
    home.make()
    assert (os.listdir(home.folder.parent), [one for one in left if one.exists()]) == ([".bgpnet", "bgpnet"], [])


def test_another_build_of_this_python_takes_its_own_library(home: Home) -> None:
    """Where the home leads to modules in C that are no more, the plugin is started as from elsewhere."""
    missing = b"import sys\nif not hasattr(sys.modules['encodings'], 'search_function'): import _none\n"
    install.install(freeze(missing + source(), link=home.python), home.folder.parent, home)
    assert answers(home.folder.parent)


@pytest.mark.parametrize("command", ["ADD", "VERSION"])
def test_whoever_closed_its_output_is_not_told_that_all_went_well(home: Home, command: str) -> None:
    line = ["sh", "-c", 'exec "$@" >&-', "sh", str(home.folder.parent / "bgpnet")]
    done = subprocess.run(line, env={"CNI_COMMAND": command}, input=b"{}", stderr=-1, timeout=30)
    assert (done.returncode, done.stderr) == (1, b"")


def test_what_python_compiles_is_not_left_to_a_full_disk(home: Home) -> None:
    """It writes no module there, at whatever execution."""
    assert answers(home.folder.parent)
    assert sorted(path.name for path in library(home).iterdir()) == ["encodings.pyc", "lib-dynload", "os.py"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a folder with spaces", "which has spaces, or more than"),
        ("ordner-ä", "is not ASCII"),
        ("long" * 50, "more than 1"),
    ],
)
def test_where_there_can_be_none_the_twin_comes_without(bins: Path, name: str, why: str) -> None:
    said = run("--python", "--home", "--bin-dir", bins / name, code=1)
    assert why in said
    assert run("--python", "--bin-dir", bins / name) == f"installed {bins / name / 'bgpnet'}\n"
    assert os.listdir(bins / name) == ["bgpnet"]
    assert answers(bins / name)


@pytest.mark.parametrize("length", [20, 44, 45, 46, 47, 48, 120, 160, 168, 169, 170, 171])
def test_every_length_of_a_path_is_one_that_the_kernel_takes_or_none(bins: Path, length: int) -> None:
    folder = bins / ("x" * (length - len(str(bins)) - 1))
    run("--python", "--bin-dir", folder)
    assert answers(folder)
    assert (folder / ".bgpnet").exists() is (length < 170)


def test_an_interpreter_that_does_not_start_from_it_has_none(bins: Path) -> None:
    stubborn = bins / "python3"
    stubborn.write_text('#!/bin/sh\nexec /usr/bin/python3 "$@"\n')  # by its own name it finds its own library
    stubborn.chmod(0o755)
    with pytest.raises(UsageError, match=f"--home: {stubborn} does not start from one: Python 3.11 does"):
        homes.find(bins / "bin", stubborn)


@pytest.mark.parametrize(
    ("flag", "code", "said"),
    [("--python", 0, "installed"), ("--home", 1, "Error: --home cannot be tried out in a temporary directory: ")],
)
def test_where_nothing_can_be_tried_the_twin_comes_without(bins: Path, flag: str, code: int, said: str) -> None:
    script = "import sys, tempfile; tempfile.tempdir = '/proc/none'; from bgpnet.cni.main import command; command()"
    line = [sys.executable, "-c", script, "install", "--python", flag, "--bin-dir", str(bins)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert (done.returncode, (done.stdout + done.stderr)[: len(said)]) == (code, said)
    assert os.listdir(bins) == ["bgpnet"][code:]


def test_the_command_makes_it_keeps_it_and_removes_it(bins: Path, tmp_path: Path) -> None:
    place = bins / "bin" / "bgpnet"
    arguments = ("--python", "--bin-dir", place.parent)
    assert run(*arguments) == f"installed {place}\n"
    assert place.read_bytes().startswith(b"#!%b/.bgpnet/python3 " % bytes(place.parent))
    assert run(*arguments) == f"{place} is up to date\n"
    (place.parent / ".bgpnet/pyvenv.cfg").unlink()
    assert run(*arguments) == f"installed {place}\n"
    assert answers(place.parent)
    removed = [place, place.parent / ".bgpnet"]
    assert run("--uninstall", "--bin-dir", place.parent, "--conf-dir", tmp_path, "--run-dir", tmp_path) == "".join(
        f"removed {one}\n" for one in removed
    )
    assert os.listdir(place.parent) == []


def test_without_it_and_with_it_again(bins: Path) -> None:
    arguments = ("--python", "--bin-dir", bins)
    run(*arguments)
    run(*arguments, "--no-home")
    assert (bins / "bgpnet").read_bytes().startswith(b"#!/usr/bin/python3 ")
    run(*arguments)
    assert answers(bins)


def test_it_stays_for_who_is_about_to_execute_the_old_twin(home: Home) -> None:
    """And goes with an installation once what came in its place is a minute old."""
    bins = home.folder.parent
    os.utime(bins / "bgpnet", (1, 1))
    for _ in range(2):
        install.install(OTHER, bins)
        assert home.is_whole()
    os.utime(bins / "bgpnet", (1, 1))
    install.install(OTHER, bins)
    assert sorted(os.listdir(bins)) == ["bgpnet"]


def test_what_is_refused_leaves_the_old_twin_as_it_was(home: Home) -> None:
    """By whatever name of its folder, and however old it is."""
    bins = home.folder.parent
    os.utime(bins / "bgpnet", (1, 1))
    (bins / "other").symlink_to(bins)
    for place in (bins, bins / "other"):
        for wanted in (None, home):
            with pytest.raises(UsageError, match="was not installed"):
                install.install(b"#!/bin/false\n", place, wanted)
            assert (home.is_whole(), answers(bins)) == (True, True)


def test_what_is_not_installed_leaves_none(bins: Path) -> None:
    (bins / "bgpnet").mkdir()
    assert "Is a directory" in run("--python", "--bin-dir", bins, code=1)
    assert os.listdir(bins) == ["bgpnet"]


def test_a_pod_does_not_know_its_nodes_folders(bins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not homes.is_foreign(bins)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    assert homes.is_foreign(bins)
    run("--python", "--bin-dir", bins)
    assert (bins / "bgpnet").read_bytes().startswith(b"#!/usr/bin/python3 ")
    run("--python", "--home", "--bin-dir", bins)
    assert (bins / "bgpnet").read_bytes().startswith(b"#!%b/" % bytes(bins))


@pytest.mark.root
def test_a_kernel_says_so() -> None:
    asked = "import sys; from pathlib import Path; from bgpnet.cni.home import is_foreign as f"
    ask = f"{sys.executable} -c '{asked}; print(*(f(Path(one)) for one in sys.argv[1:]))'"
    script = f"mount --bind /usr /mnt && {ask} /mnt/bin /mnt/new/bin /mnt / && umount /proc && {ask} /"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True True True False\nTrue\n", "")


def test_installers_of_two_kinds_at_once(bins: Path) -> None:
    """Whoever is the last: the plugin runs, and nobody is refused."""
    home = homes.find(bins / "bin")
    works = [(freeze(link=home.python), home), (OTHER.replace(b"[]", b'["1.0.0"]'), None)]
    done: list[Path] = []
    for _ in range(6):
        install.install(works[1][0], bins / "bin")
        os.utime(bins / "bin/bgpnet", (1, 1))
        workers = [
            threading.Thread(target=lambda work=work: done.append(install.install(work[0], bins / "bin", work[1])))
            for work in works * 2
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert answers(bins / "bin")
    assert len(done) == 24


def test_an_installation_that_does_not_end_is_not_waited_for_long(bins: Path) -> None:
    with locked(bins, 1), pytest.raises(TimeoutError, match="somebody else works on it"), locked(bins, 0.1):
        pass


@pytest.mark.parametrize("link", [None, Path("/x" * 10), Path("/x" * 60)])
def test_another_version_may_take_its_place_while_it_starts(home: Home, link: Path | None) -> None:
    """A twin without a home, one with another's, one whose loader stands elsewhere: start.py finds it in each."""
    other = home.folder.parent / "other"
    other.write_bytes(freeze(link=link))
    line = [str(home.python), "-ISc", "raise SystemExit(9)", str(other)]
    done = subprocess.run(line, env=CALL, input=b"{}", capture_output=True, timeout=30)
    assert (done.returncode, done.stderr, b"supported" in done.stdout) == (0, b"", True)
    cat = shutil.which("cat")
    done = subprocess.run([*line[:-1], str(cat)], input=b"all of it", capture_output=True, timeout=30)
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"all of it")


def test_nothing_is_executed_where_start_py_is_only_imported() -> None:
    line = [sys.executable, "-c", "import bgpnet.cni.start", "/bin/echo"]
    assert subprocess.run(line, capture_output=True, check=True, timeout=30).stdout == b""


def test_it_needs_an_interpreter() -> None:
    with pytest.raises(UsageError, match="/no/python3 does not say where its library is"):
        homes.find(Path("/tmp"), Path("/no/python3"))
    assert Path("/usr/bin/python3") == INTERPRETER
