"""The home from which the twin's interpreter starts: a library of one module, and the machine's for whatever else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bgpnet.cni import frozen, install
from bgpnet.cni import home as homes
from bgpnet.cni.home import Home
from bgpnet.cni.main import command

ANSWER = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
C_PROGRAM = b"#!/bin/sh\necho '{\"supportedVersions\":[]}'\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """One that is made."""
    made = homes.find(tmp_path)
    assert made is not None
    made.make()
    return made


def said(home: Home, script: str, stdin: bytes = b"", options: tuple[str, ...] = (), **env: str) -> str:
    """What the script prints under the home's interpreter, which must end well and warn of nothing."""
    line = [str(home.python), "-IS", *options, "-c", script]
    done = subprocess.run(line, input=stdin, capture_output=True, timeout=30, env={**os.environ, **env})
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return done.stdout.decode()


def run(*arguments: object) -> str:
    """What `bgpnet cni install` prints, without error."""
    result = CliRunner().invoke(command, ["install", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_it_loads_one_module_of_its_own_and_none_of_the_machines(home: Home) -> None:
    script = (
        "import sys; print(*(one.__file__ for one in sys.modules.values() if one.__spec__ and one.__spec__.cached))"
    )
    assert said(home, script).split() == [str(home.library / "encodings.py")]


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX", "none_such.UTF-8"])
def test_letters_cross_standard_input_and_output(home: Home, locale: str) -> None:
    text = "aä€𝄞" * 5_000  # longer than a buffer, so that letters are cut in two
    script = "import sys; said = sys.stdin.read(); sys.stdout.write(said)"
    assert said(home, script, text.encode(), LC_ALL=locale) == text


def test_output_goes_on_where_a_file_ends(home: Home, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes("ä".encode())
    with (tmp_path / "out").open("ab") as out:
        out.seek(0, os.SEEK_END)
        subprocess.run([home.python, "-ISc", "print('ö')"], stdout=out, check=True, timeout=30)
    assert (tmp_path / "out").read_text() == "äö\n"


def test_an_incremental_codec_is_as_pythons_own(home: Home) -> None:
    """Byte by byte, with each way to treat errors, by its states, too."""
    script = """
import encodings, sys
text = "aä€𝄞".encode() + b"\\xff\\xe2\\x82"
def steps(make):
    for errors in ("strict", "replace", "surrogateescape", "ignore"):
        codec = make(errors)
        for at in range(len(text) + 1):
            try:
                yield codec.decode(text[at:at + 1], final=at == len(text))
            except UnicodeDecodeError as error:
                yield str(error)
            yield codec.getstate()
            codec.setstate(codec.getstate())
        codec.reset()
        yield codec.getstate()
ours = list(steps(encodings.Utf8))
"".encode("cp1252")
from encodings import utf_8
assert utf_8.__file__.startswith("/usr"), utf_8.__file__
theirs = list(steps(utf_8.IncrementalDecoder))
print(ours == theirs, len(ours))
"""
    assert said(home, script) == "True 116\n"


@pytest.mark.parametrize(
    ("script", "printed"),
    [
        ("print('ä'.encode('latin-1'), b'\\xe4'.decode('cp1252'))", "b'\\xe4' ä\n"),
        ("print('ä'.encode('utf-16-le'))", "b'\\xe4\\x00'\n"),
        ("print('ä'.encode('UTF8'), 'ä'.encode('U8'))", "b'\\xc3\\xa4' b'\\xc3\\xa4'\n"),
        ("import json; print(json.dumps(['ä']))", '["\\u00e4"]\n'),
        ("import _json; print(_json.encode_basestring('ä'))", '"ä"\n'),
    ],
)
def test_the_machines_library_is_there_for_who_needs_it(home: Home, script: str, printed: str) -> None:
    before = "" if "json;" not in script else "'ä'.encode('cp1252'); "
    assert said(home, before + script) == printed


def test_an_encoding_that_nobody_knows(home: Home) -> None:
    script = "try: 'a'.encode('none-such')\nexcept LookupError as error: print(error)"
    assert said(home, script) == "unknown encoding: none-such\n"


def test_a_locale_that_is_not_utf_8(home: Home) -> None:
    script = "import sys; print(sys.getfilesystemencoding(), sys.stdin.encoding)"
    printed = said(home, script, b"", ("-X", "utf8=0"), LC_ALL="C")
    assert printed == said(replace(home, folder=Path("/usr/bin")), script, b"", ("-X", "utf8=0"), LC_ALL="C")
    assert printed.startswith("ascii ")


def test_another_python_takes_the_machines_library(home: Home) -> None:
    """As after an upgrade of the machine's, for which the home has no library."""
    install.install(frozen.freeze(link=home.python), home.folder.parent, home)
    home.library.rename(home.library.with_name("python3.0"))
    assert install.try_version(home.folder.parent / "bgpnet") == ANSWER
    assert not home.is_whole()


DAMAGES: dict[str, Callable[[Home], object]] = {
    "no interpreter": lambda home: home.python.unlink(),
    "another interpreter": lambda home: (home.python.unlink(), home.python.symlink_to("/bin/true")),
    "a file for a link": lambda home: (home.python.unlink(), home.python.write_text("")),
    "no configuration": lambda home: (home.folder / "pyvenv.cfg").unlink(),
    "another module": lambda home: (home.library / "encodings.py").write_text("evil = 1"),
    "an open file": lambda home: (home.library / "encodings.py").chmod(0o666),
    "an open folder": lambda home: home.library.chmod(0o777),
    "no library": lambda home: shutil.rmtree(home.library),
    "nothing": lambda home: shutil.rmtree(home.folder),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_amiss_is_seen_and_mended_and_what_is_right_stays(home: Home, damage: str) -> None:
    assert home.is_whole()
    kept = (home.library / "os.py").stat().st_ino
    DAMAGES[damage](home)
    assert not home.is_whole()
    home.make()
    assert home.is_whole()
    assert said(home, "print(1)") == "1\n"
    assert (home.library / "os.py").stat().st_ino == kept or damage in ("no library", "nothing")


@pytest.mark.parametrize("name", ["a folder with spaces", "ordner-ä", "long" * 40])
def test_where_a_first_line_cannot_name_it_there_is_none(tmp_path: Path, name: str) -> None:
    assert homes.find(tmp_path / name) is None
    assert run("--python", "--bin-dir", tmp_path / name) == f"installed {tmp_path / name / 'bgpnet'}\n"
    assert os.listdir(tmp_path / name) == ["bgpnet"]
    assert install.try_version(tmp_path / name / "bgpnet") == ANSWER


def test_an_interpreter_that_does_not_start_from_it_has_none(tmp_path: Path) -> None:
    stubborn = tmp_path / "python3"
    stubborn.write_text('#!/bin/sh\nexec /usr/bin/python3 "$@"\n')  # by its own name it finds its own library
    stubborn.chmod(0o755)
    assert homes.beside(tmp_path / "bin", stubborn) is not None
    assert homes.find(tmp_path / "bin", stubborn) is None


def test_the_command_makes_it_keeps_it_and_removes_it(tmp_path: Path) -> None:
    place = tmp_path / "bin" / "bgpnet"
    arguments = ("--python", "--bin-dir", place.parent)
    assert run(*arguments) == f"installed {place}\n"
    assert place.read_bytes().startswith(b"#!%b/.bgpnet/python3 " % bytes(place.parent))
    assert run(*arguments) == f"{place} is up to date\n"
    (place.parent / ".bgpnet/pyvenv.cfg").unlink()
    assert run(*arguments) == f"installed {place}\n"
    assert install.try_version(place) == ANSWER
    removed = [place, place.parent / ".bgpnet"]
    assert run("--uninstall", "--bin-dir", place.parent, "--conf-dir", tmp_path, "--run-dir", tmp_path) == "".join(
        f"removed {one}\n" for one in removed
    )
    assert os.listdir(place.parent) == []


def test_without_it_and_with_it_again(tmp_path: Path) -> None:
    """Who is about to execute the old one still finds what that starts from."""
    arguments = ("--python", "--bin-dir", tmp_path)
    run(*arguments)
    run(*arguments, "--no-home")
    assert (tmp_path / "bgpnet").read_bytes().startswith(b"#!/usr/bin/python3 ")
    assert sorted(os.listdir(tmp_path)) == [".bgpnet", "bgpnet"]
    run(*arguments)
    assert install.try_version(tmp_path / "bgpnet") == ANSWER


def test_the_installation_after_the_compiled_ones_removes_it(tmp_path: Path) -> None:
    run("--python", "--bin-dir", tmp_path)
    for left in ([".bgpnet", "bgpnet"], ["bgpnet"]):
        install.install(C_PROGRAM, tmp_path)
        assert sorted(os.listdir(tmp_path)) == left


def test_what_is_not_installed_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "bgpnet").mkdir()
    result = CliRunner().invoke(command, ["install", "--python", "--bin-dir", str(tmp_path)])
    assert (result.exit_code, "Is a directory" in result.output) == (1, True)
    assert os.listdir(tmp_path) == ["bgpnet"]


def test_a_pod_does_not_know_its_nodes_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not homes.is_foreign(tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    assert homes.is_foreign(tmp_path)
    run("--python", "--bin-dir", tmp_path)
    assert (tmp_path / "bgpnet").read_bytes().startswith(b"#!/usr/bin/python3 ")


@pytest.mark.root
def test_a_folder_that_is_bound_from_elsewhere_may_have_another_name(tmp_path: Path) -> None:
    (tmp_path / "here/bin").mkdir(parents=True)
    (tmp_path / "tmpfs").mkdir()
    asked = "import sys; from pathlib import Path; from bgpnet.cni.home import is_foreign as f"
    ask = f"{sys.executable} -c '{asked}; print(*(f(Path(one)) for one in sys.argv[1:]))'"
    script = (
        f"mount --bind {tmp_path}/here /mnt && mount -t tmpfs none {tmp_path}/tmpfs &&"
        f"{ask} /mnt/bin /mnt/new/bin {tmp_path}/here/bin {tmp_path}/tmpfs/bin /"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True True False False False\n", "")


def test_several_installers_at_once(tmp_path: Path) -> None:
    results: list[str] = []
    home = homes.find(tmp_path / "bin")
    assert home is not None
    program = frozen.freeze(link=home.python)
    workers = [
        threading.Thread(target=lambda: results.append(str(install.install(program, tmp_path / "bin", home))))
        for _ in range(8)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(results) == 8
    assert install.is_installed(program, tmp_path / "bin", home)
    assert install.try_version(tmp_path / "bin" / "bgpnet") == ANSWER
