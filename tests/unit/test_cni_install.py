"""`bgpnet cni install`: whole or not at all."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from bgpnet import conflist
from bgpnet.cni import frozen, install
from bgpnet.cni.main import command
from bgpnet.errors import UsageError
from bgpnet.lab.wait import until

ANSWER = '{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}'
WORKS = f"#!/bin/sh\necho '{ANSWER}'\n".encode()


def untouched(path: Path) -> tuple[int, ...]:
    """What a write or a replacement would change of a file; that it was read is no matter, but is in its stat, too."""
    now = path.stat()
    return (now.st_ino, now.st_mode, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


def test_the_old_plugin_is_replaced_in_one_step(tmp_path: Path) -> None:
    old = tmp_path / "bin" / "bgpnet"
    old.parent.mkdir()
    old.write_text("the old one")
    with old.open() as running:
        assert install.install(WORKS, old.parent) == old
        assert running.read() == "the old one"
    assert old.read_bytes() == WORKS
    assert stat.S_IMODE(old.stat().st_mode) == 0o755
    assert os.listdir(old.parent) == ["bgpnet"]


def test_the_directory_is_made(tmp_path: Path) -> None:
    assert install.install(WORKS, tmp_path / "opt" / "cni" / "bin").read_bytes() == WORKS


@pytest.mark.parametrize(
    "broken", [b"", b"\x7fELF", b"#!/no/such/program\n", b"#!/bin/sh\nexit 1\n", b"#!/bin/sh\necho '[]'\n"]
)
def test_what_does_not_answer_version_is_not_installed(tmp_path: Path, broken: bytes) -> None:
    install.install(WORKS, tmp_path)
    with pytest.raises(UsageError, match="was not installed"):
        install.install(broken, tmp_path)
    assert (tmp_path / "bgpnet").read_bytes() == WORKS
    assert os.listdir(tmp_path) == ["bgpnet"]


def test_the_frozen_twin_answers_and_so_does_it_under_another_python(tmp_path: Path) -> None:
    ours = frozen.freeze()
    other = ours.replace(b"MAGIC_NUMBER ==", b"MAGIC_NUMBER !=", 1)
    assert other != ours
    for program in (ours, other):
        assert install.try_version(install.install(program, tmp_path)) == ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]


@pytest.mark.parametrize(("before", "after"), [(0, 500), (500, 0)], ids=["a longer one", "a shorter one"])
def test_another_version_may_take_the_frozen_twins_place_while_it_starts(
    tmp_path: Path, before: int, after: int
) -> None:
    """The kernel reads the first line of the one, and Python then opens the other."""
    old, new = (
        frozen.freeze(frozen.source().replace(b"LIMIT = 1 << 20", b"LIMIT = 1 << 20\nMORE = %r" % (b"x" * size)))
        for size in (before, after)
    )
    first = old.split(b"\n", 1)[0]
    (tmp_path / "twin").write_bytes(new)
    interpreter, argument = first.removeprefix(b"#!").split(b" ", 1)
    command = [interpreter, argument, bytes(tmp_path / "twin")]
    done = subprocess.run(command, env={"CNI_COMMAND": "VERSION"}, input=b"{}", capture_output=True, timeout=30)
    assert (done.returncode, done.stderr, done.stdout.decode().strip()) == (0, b"", ANSWER)


def test_the_compiled_program_may_take_the_frozen_twins_place_while_it_starts(tmp_path: Path) -> None:
    """It has all that the twin was given: here, a program that passes its input on."""
    cat = shutil.which("cat")
    assert cat is not None
    interpreter, argument = frozen.freeze().split(b"\n", 1)[0].removeprefix(b"#!").split(b" ", 1)
    done = subprocess.run([interpreter, argument, cat], input=b"all of it", capture_output=True, timeout=30)
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"all of it")


def test_the_frozen_twins_first_line_is_one_that_every_kernel_takes_whole(tmp_path: Path) -> None:
    large = b"# a large one\n" * 60_000
    assert len(frozen.freeze(large).split(b"\n", 1)[0]) < 128  # linux/binfmts.h: BINPRM_BUF_SIZE, before 5.1
    far = tmp_path / ("long" * 30) / ("path" * 30) / "python3"
    far.parent.mkdir(parents=True)
    far.symlink_to(frozen.INTERPRETER)
    with pytest.raises(
        UsageError, match=f"--python: a program's first line cannot name {far}, which has spaces, or more than 1"
    ):
        frozen.freeze(interpreter=far)


def test_the_frozen_twin_refuses_as_the_script_does(tmp_path: Path) -> None:
    installed = install.install(frozen.freeze(), tmp_path)
    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "a", "CNI_IFNAME": "e", "CNI_NETNS": "/proc/self/ns/net"}
    runs = [
        subprocess.run(plugin, env=env, input=b'{"a":', capture_output=True, timeout=30)
        for plugin in (
            [str(installed)],
            [sys.executable, "-m", "bgpnet.cni.plugin"],
            [sys.executable, "-ISE", str(frozen.TWIN[-1])],
        )
    ]
    assert [(run.returncode, run.stderr) for run in runs] == [(1, b"")] * 3
    assert runs[0].stdout == runs[1].stdout == runs[2].stdout


def test_the_command_installs_the_twin(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["install", "--python", "--bin-dir", str(tmp_path / "bin")])
    assert (result.exit_code, result.output) == (0, f"installed {tmp_path / 'bin' / 'bgpnet'}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "{tmp}/none"], "--from {tmp}/none: No such file or directory; build it with `make cni`"),
        (
            ["--python", "--bin-dir", "{tmp}/dangling"],
            "--bin-dir {tmp}/dangling: File exists; {tmp}/dangling is a symbolic link to nowhere, which is no",
        ),
        (["--python", "--bin-dir", "{tmp}/dangling/bin"], "{tmp}/dangling is a symbolic link to nowhere, which is"),
        (["--python", "--bin-dir", "{tmp}/file/bin"], "--bin-dir {tmp}/file/bin: Not a directory; name a directory"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    result = CliRunner().invoke(command, ["install", *(each.format(tmp=tmp_path) for each in arguments)])
    assert result.exit_code == 1
    assert message.format(tmp=tmp_path) in result.output


def test_what_lies_in_the_callers_directory_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = tmp_path / "build/cni/bgpnet"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(WORKS)
    monkeypatch.chdir(tmp_path)
    assert install.program() in (install.SHIPPED, Path(__file__).parents[2] / "build/cni/bgpnet")
    run("--bin-dir", tmp_path / "bin")  # it finds the checkout's own, or none
    assert not install.is_installed(WORKS, tmp_path / "bin")


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(command, ["install", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """What is to be installed."""
    path = tmp_path / "built"
    path.write_bytes(WORKS)
    return path


def test_a_running_plugin_goes_on_while_it_is_replaced(tmp_path: Path) -> None:
    cat = shutil.which("cat")
    assert cat is not None
    shutil.copy(cat, tmp_path / "bgpnet")
    with subprocess.Popen([str(tmp_path / "bgpnet")], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        install.install(WORKS, tmp_path)
        assert running.communicate(b"still here", timeout=30) == (b"still here", None)
    assert install.is_installed(WORKS, tmp_path)


def test_what_a_killed_installer_left_is_removed(tmp_path: Path) -> None:
    old, young = tmp_path / ".bgpnet-old", tmp_path / ".bgpnet-young"
    for one in (old, young):
        one.write_text("half a file")
    os.utime(old, (1, 1))
    install.install(WORKS, tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".bgpnet-young", "bgpnet"]


def test_the_same_again_changes_nothing_and_an_upgrade_does(tmp_path: Path, plugin: Path) -> None:
    place = tmp_path / "bin" / "bgpnet"
    arguments = ("--from", plugin, "--bin-dir", place.parent)
    assert run(*arguments) == (0, f"installed {place}\n")
    before = untouched(place)
    assert run(*arguments) == (0, f"{place} is up to date\n")
    assert untouched(place) == before
    for damage in (place.unlink, lambda: place.write_text("another's"), lambda: place.chmod(0o644)):
        damage()
        assert run(*arguments) == (0, f"installed {place}\n")
        assert install.is_installed(WORKS, place.parent)


def test_a_symbolic_link_in_its_place_is_replaced(tmp_path: Path, plugin: Path) -> None:
    place = tmp_path / "bin" / "bgpnet"
    install.install(WORKS, place.parent)
    elsewhere = tmp_path / "elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)  # of an installer in a container, the host may see no such file
    assert run("--from", plugin, "--bin-dir", place.parent) == (0, f"installed {place}\n")
    assert (place.is_symlink(), elsewhere.read_bytes()) == (False, WORKS)


@pytest.mark.root
def test_a_file_that_somebody_else_may_change_is_replaced(tmp_path: Path) -> None:
    place = install.install(WORKS, tmp_path)
    os.chown(place, 65534, 65534)
    assert not install.is_installed(WORKS, tmp_path)
    install.install(WORKS, tmp_path)
    assert place.stat().st_uid == os.geteuid()


def test_it_is_put_back_for_as_long_as_somebody_watches(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    install.install(WORKS, folder)
    stop, told = threading.Event(), [""]
    keeper = threading.Thread(target=install.keep, args=(WORKS, folder, stop, told.append, 0.01))
    keeper.start()

    def in_the_way() -> str:
        """A file in the folder's place, unless the keeper was quicker to put that back."""
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(IsADirectoryError):
            folder.write_text("")
        return "" if folder.is_file() else "it is restored"

    try:
        until(in_the_way, 60)
        until(lambda: "" if "Not a directory" in told[-1] or "File exists" in told[-1] else "not told", 60)
        count = len(told)
        folder.unlink()
        until(lambda: "" if install.is_installed(WORKS, folder) else "not restored", 60)
        until(lambda: "" if told[-1] == f"restored {folder / 'bgpnet'}" else "not told", 60)
        assert len(told) <= count + 2
    finally:
        stop.set()
        keeper.join(60)
    assert not keeper.is_alive()


def test_the_command_watches_until_it_is_told_to_end(tmp_path: Path, plugin: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "bgpnet",
        "cni",
        "install",
        "--from",
        str(plugin),
        "--bin-dir",
        str(tmp_path),
        "--watch",
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == f"installed {tmp_path / 'bgpnet'}\n"

        def ended() -> str:
            running.terminate()
            return "" if running.poll() is not None else "it goes on"

        until(ended, 60)
    assert install.is_installed(WORKS, tmp_path)


def test_uninstall_removes_both_and_their_leftovers(tmp_path: Path, plugin: Path) -> None:
    bins, confs = tmp_path / "bin", tmp_path / "net.d"
    confs.mkdir()
    arguments = ("--uninstall", "--bin-dir", bins, "--conf-dir", confs, "--run-dir", tmp_path)
    assert run(*arguments) == (0, f"nothing to remove in {bins} and {confs}\n")
    run("--from", plugin, "--bin-dir", bins)
    kept = [bins / "portmap", confs / "05-other.conflist"]
    for one in (*kept, bins / ".bgpnet-x", confs / ".10-bgpnet.conflist-x", confs / conflist.NAME):
        one.write_text("")
    removed = [confs / ".10-bgpnet.conflist-x", confs / conflist.NAME, bins / ".bgpnet-x", bins / "bgpnet"]
    assert run(*arguments) == (0, "".join(f"removed {one}\n" for one in removed))
    assert sorted((*bins.iterdir(), *confs.iterdir())) == sorted(kept)


def test_uninstall_waits_for_nobody_to_write_the_conflist_anew(tmp_path: Path) -> None:
    """An agent that is too busy to answer lives, too; a socket's file that is left over is none."""
    install.install(WORKS, tmp_path)
    path = tmp_path / "agent.sock"
    arguments = ("--uninstall", "--bin-dir", tmp_path, "--conf-dir", tmp_path, "--run-dir", tmp_path)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen(0)
        for _ in range(3):  # the last finds its backlog full
            code, said = run(*arguments)
            refusal = f"Error: the agent listens on {path} and would write 10-bgpnet.conflist anew: stop it first\n"
            assert (code, said) == (1, refusal)
        assert install.is_installed(WORKS, tmp_path)
    assert run(*arguments) == (0, f"removed {tmp_path / 'bgpnet'}\n")


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["--uninstall", "--python"], "--python"),
        (["--uninstall", "--watch"], "--watch"),
        (["--uninstall", "--from", "x"], "--from"),
        (["--conf-dir", "/etc"], "--conf-dir"),
        (["--run-dir", "/run"], "--run-dir"),
    ],
)
def test_flags_that_mean_nothing_are_wrong_usage(arguments: list[str], flag: str) -> None:
    code, said = run(*arguments)
    assert code == 2
    assert f"{flag} means nothing for" in said


@contextmanager
def nobody() -> Iterator[None]:
    """The user nobody, where this is root; whoever is not root stays who it is."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_who_may_not_write_there_is_told_to_be_root(tmp_path: Path) -> None:
    install.install(WORKS, tmp_path / "bin")
    (tmp_path / "bin").chmod(0o555)
    with nobody():
        for work in (
            lambda: install.install(WORKS, tmp_path / "bin"),
            lambda: install.uninstall(tmp_path / "bin", tmp_path / "none"),
            lambda: install.install(WORKS, Path("/opt-of-nobody/bin")),
        ):
            with pytest.raises(
                UsageError, match="Permission denied; run this as root, or name a directory that you may"
            ):
                work()


def test_a_directory_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "bgpnet").mkdir()
    with pytest.raises(UsageError, match=f"Is a directory; remove the directory {tmp_path}/bgpnet"):
        install.install(WORKS, tmp_path)
    assert os.listdir(tmp_path) == ["bgpnet"]


def test_help_has_examples_and_exit_codes() -> None:
    _, said = run("--help")
    assert "bgpnet cni install --uninstall" in said
    assert "0 done, 1 refused" in said
