"""The conflist: what stands in it, when it is written, and what is said about what cannot stand there."""

from __future__ import annotations

import json
import os
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from worlds import fresh, synced

from bgpnet import conflist, files
from bgpnet.agent.conflist import Keeper, Place, ask
from bgpnet.agent.events import ConflistLooked
from bgpnet.agent.plan import Plan
from bgpnet.agent.server import Server
from bgpnet.agent.status import not_ready, status
from bgpnet.agent.step import step
from bgpnet.cnispec import VERSIONS
from bgpnet.kernel.state import KernelState
from bgpnet.lab.wait import until

OLD = ("0.3.1", "0.4.0", "1.0.0")
NEW = (*OLD, "1.1.0")


def built(plugins: object, said: dict[str, tuple[str, ...] | str], **more: int | str) -> tuple[dict[str, object], str]:
    """The document, and what was left out."""
    made = conflist.build(conflist.chain(plugins), said, VERSIONS, **more)  # type: ignore[arg-type]  # mtu or socket
    document = json.loads(made.content)
    assert [one["type"] for one in document["plugins"]] == ["bgpnet", *made.chained]
    return document, "\n".join(made.left_out)


def versions_in(document: dict[str, object]) -> tuple[object, object]:
    return document["cniVersion"], document.get("cniVersions")


def untouched(path: Path) -> tuple[int, ...]:
    """What a write or a replacement would change of a file; that it was read is no matter, but is in its stat, too."""
    now = path.stat()
    return (now.st_ino, now.st_mode, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


def test_alone_we_speak_the_newest() -> None:
    document, left_out = built("none", {})
    assert document == {
        "cniVersion": "1.0.0",
        "cniVersions": ["1.0.0", "1.1.0"],
        "name": "bgpnet",
        "plugins": [{"type": "bgpnet", "capabilities": {"ips": True, "mac": True, conflist.ANNOTATIONS: True}}],
    }
    assert left_out == ""


def test_unasked_portmap_and_bandwidth_are_chained_where_they_are() -> None:
    document, left_out = built("auto", {"portmap": NEW, "bandwidth": ""})
    plugins = document["plugins"]
    assert isinstance(plugins, list)
    assert plugins[1:] == [{"type": "portmap", "snat": True, "capabilities": {"portMappings": True}}]
    assert (versions_in(document), left_out) == (("1.0.0", ["1.0.0", "1.1.0"]), "")


@pytest.mark.parametrize(
    ("supported", "expected"),
    [
        (NEW, ("1.0.0", ["1.0.0", "1.1.0"])),
        (OLD, ("1.0.0", None)),
        (("0.3.0", "0.3.1", "0.4.0"), ("0.4.0", None)),
        (("1.0.0", "1.1.0", "1.2.0"), ("1.0.0", ["1.0.0", "1.1.0"])),
        (("0.4.0", "1.1.0"), ("0.4.0", ["0.4.0", "1.1.0"])),
    ],
)
def test_versions_are_those_that_every_plugin_supports(supported: tuple[str, ...], expected: object) -> None:
    document, _ = built("tuning,portmap", {"tuning": NEW, "portmap": supported})
    assert versions_in(document) == expected


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "it is not installed; install it"),
        ("it cannot be executed (Permission denied)", "it cannot be executed (Permission denied); install it"),
        (("0.1.0", "0.2.0"), "it supports CNI 0.1.0, 0.2.0, and the others 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        (("1.1.0",), "it supports CNI 1.1.0, and the others"),
    ],
)
def test_a_plugin_that_cannot_be_called_is_left_out_and_said(said: tuple[str, ...] | str, reason: str) -> None:
    document, left_out = built("firewall,tuning", {"firewall": said, "tuning": OLD})
    assert left_out.startswith(f"the plugin firewall is left out of 10-bgpnet.conflist: {reason}")
    assert versions_in(document) == ("1.0.0", None)
    plugins = document["plugins"]
    assert isinstance(plugins, list)
    assert plugins[1:] == [{"type": "tuning"}]


def test_what_is_unusual_is_told_to_the_plugin() -> None:
    document, _ = built("none", {}, mtu=1400, socket="/run/other/agent.sock")
    plugins = document["plugins"]
    assert isinstance(plugins, list)
    assert (plugins[0]["mtu"], plugins[0]["socket"]) == (1400, "/run/other/agent.sock")


def test_what_runtimes_take_before_ours() -> None:
    names = [
        "05-other.conflist",
        "10-aws.conf",
        "1.json",
        "10-bgpnet.conflist",
        "20-x.conf",
        "00-README",
        ".10-a.conf-x",
    ]
    assert conflist.before(names) == ["05-other.conflist", "1.json", "10-aws.conf"]


# the edge


class Node:
    """A directory of configurations and one of plugins, with a keeper that somebody looks with."""

    def __init__(self, folder: Path, plugins: str = "auto") -> None:
        self.conf, self.bin = folder / "net.d", folder / "bin"
        self.bin.mkdir()
        self.plugin("bgpnet", NEW)
        self.told: list[tuple[str, ...]] = []
        self.place = Place(self.conf, self.bin, str(folder / "agent.sock"), conflist.chain(plugins))
        self.keeper = Keeper(self.place, lambda event: self.told.append(event.warnings))

    @property
    def file(self) -> Path:
        return self.conf / conflist.NAME

    @property
    def types(self) -> list[str]:
        return [one["type"] for one in json.loads(self.file.read_bytes())["plugins"]]

    def plugin(self, name: str, versions: tuple[str, ...]) -> None:
        self.script(name, f"echo x >> {self.bin}/{name}.asked; echo '{json.dumps({'supportedVersions': versions})}'")

    def script(self, name: str, body: str) -> None:
        files.replace(self.bin / name, f"#!/bin/sh\n{body}\n".encode(), 0o755)


def test_the_file_is_written_once_and_kept(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.plugin("portmap", OLD)
    node.keeper.look()
    assert node.types == ["bgpnet", "portmap"]
    assert stat.S_IMODE(node.file.stat().st_mode) == 0o644
    before = untouched(node.file)
    for keeper in (node.keeper, Keeper(node.place, lambda event: None)):
        keeper.look()
        assert untouched(node.file) == before
    assert os.listdir(node.conf) == [conflist.NAME]
    assert node.told == []
    assert (node.bin / "portmap.asked").read_text() == "x\n" * 2  # once by each keeper, however often they look


def test_a_plugin_that_comes_goes_or_changes_is_heeded(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.keeper.look()
    assert node.types == ["bgpnet"]
    node.plugin("portmap", OLD)
    node.keeper.look()
    assert (node.types, json.loads(node.file.read_text()).get("cniVersions")) == (["bgpnet", "portmap"], None)
    node.plugin("portmap", NEW)
    node.keeper.look()
    assert json.loads(node.file.read_text())["cniVersions"] == ["1.0.0", "1.1.0"]
    (node.bin / "portmap").unlink()
    node.keeper.look()
    assert node.types == ["bgpnet"]


def test_a_plugin_that_did_not_tell_is_asked_again_though_its_file_is_the_same(tmp_path: Path) -> None:
    """And a list that is there changes by that at the second look only, say after a start on a busy node."""
    node, busy = Node(tmp_path), tmp_path / "busy"
    node.script("portmap", f"[ -e {busy} ] && exit 1; echo '{json.dumps({'supportedVersions': OLD})}'")
    busy.touch()
    node.keeper.look()
    assert node.types == ["bgpnet"]
    busy.unlink()
    node.keeper.look()
    assert node.types == ["bgpnet", "portmap"]
    before = untouched(node.file)
    busy.touch()
    node.keeper = Keeper(node.place, lambda event: node.told.append(event.warnings))
    node.keeper.look()
    assert untouched(node.file) == before
    node.keeper.look()
    assert node.types == ["bgpnet"]
    assert [len(warnings) for warnings in node.told] == [1, 0, 1]


def test_somebody_elses_content_is_replaced_and_a_lost_file_comes_back(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.keeper.look()
    good = node.file.read_bytes()
    node.file.write_text("{")
    node.keeper.look()
    assert node.file.read_bytes() == good
    node.file.unlink()
    node.file.symlink_to("/dev/null")
    node.keeper.look()
    assert (node.file.read_bytes(), node.file.is_symlink()) == (good, False)


def test_another_network_that_comes_first_is_told_of_until_it_goes(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.conf.mkdir()
    (node.conf / "05-other.conflist").write_text("{}")
    (node.conf / "04-kept.conf").mkdir()  # runtimes pass folders by (libcni, ConfFiles)
    node.keeper.look()
    node.keeper.look()
    assert len(node.told) == 1
    assert node.told[0][0].startswith(f"{node.conf}/05-other.conflist sorts before 10-bgpnet.conflist")
    (node.conf / "05-other.conflist").unlink()
    node.keeper.look()
    assert node.told[1:] == [()]


OURS = {"type": "bgpnet"}
MULTUS = [
    {"type": "multus", "clusterNetwork": "bgpnet"},
    {"type": "multus-shim", "clusterNetwork": "/host/etc/cni/net.d/10-bgpnet.conflist"},
    {"type": "multus", "delegates": [{"name": "bgpnet", "plugins": [OURS, {"type": "portmap"}]}]},
    {"plugins": [{"type": "multus", "delegates": [OURS]}]},
]
"""Configurations whose plugin calls ours: by hand, and as Multus's own installers write them."""


@pytest.mark.parametrize("content", [json.dumps(one) for one in MULTUS])
def test_multus_that_comes_first_and_calls_ours_is_as_it_should_be(tmp_path: Path, content: str) -> None:
    node = Node(tmp_path)
    node.conf.mkdir()
    (node.conf / "00-multus.conf").write_text(content)
    (node.conf / "05-other.conflist").write_text("{}")  # which nobody takes
    node.keeper.look()
    assert node.told == []
    (node.conf / "00-first.conf").write_text("{}")
    node.keeper.look()
    assert [one.split()[0].rpartition("/")[2] for one in node.told[0]] == [
        "00-first.conf",
        "00-multus.conf",
        "05-other.conflist",
    ]


STRANGE = ["{", "[]", "7", '{"plugins": 7}', '{"plugins": [7]}', '{"delegates": {}}', "[" * 100_000]


@pytest.mark.parametrize("content", [*STRANGE, '{"clusterNetwork": "flannel"}', json.dumps(OURS)])
def test_what_does_not_call_ours(content: str) -> None:
    assert not conflist.leads_here(content.encode())


def test_a_missing_executable_of_ours_is_told_of(tmp_path: Path) -> None:
    node = Node(tmp_path)
    (node.bin / "bgpnet").unlink()
    node.keeper.look()
    assert node.told == [
        (f"{node.bin}/bgpnet is no executable, and container runtimes look for it there: run bgpnet cni install",)
    ]
    assert node.file.is_file()


def test_a_directory_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.conf.write_text("a file")
    node.keeper.look()
    assert node.told[0][0].startswith(f"{node.file} cannot be written: File exists; see to that directory")


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.conf.mkdir()
    old, young = node.conf / ".10-bgpnet.conflist-old", node.conf / ".10-bgpnet.conflist-young"
    for one in (old, young):
        one.write_text("{")
    os.utime(old, (1, 1))
    node.keeper.look()
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("exec sleep 60", "it did not answer VERSION within 0.2 s"),
        ("exit 3", "it answered VERSION with exit code 3"),
        ("echo '[]'", "its answer to VERSION is not that of a CNI plugin"),
        ("head -c 100000 /dev/zero | tr '\\0' '['", "its answer to VERSION is not that of a CNI plugin"),
        ("echo nonsense", "its answer to VERSION is not that of a CNI plugin"),
    ],
)
def test_a_plugin_that_answers_badly(tmp_path: Path, body: str, reason: str) -> None:
    node = Node(tmp_path)
    node.script("portmap", body)
    assert ask(node.bin / "portmap", 0.2 if "sleep" in body else 60.0) == reason


def test_a_plugin_that_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "portmap").write_text("text")
    assert ask(tmp_path / "portmap") == "it cannot be executed (Permission denied)"


@contextmanager
def kept(keeper: Keeper) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=keeper.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def test_nothing_is_written_before_the_agent_itself_answers(tmp_path: Path) -> None:
    node = Node(tmp_path)
    asked, may_answer = threading.Event(), threading.Event()

    def emit(event: object) -> None:
        asked.set()
        assert may_answer.wait(60)
        server.answer(event.number, 0, b"{}")  # type: ignore[attr-defined]  # a question

    node.script("bandwidth", f"touch {tmp_path}/looked")
    server = Server(Path(node.place.socket), emit)  # type: ignore[arg-type]  # only questions come
    with kept(node.keeper):
        server.listen()
        assert asked.wait(60)
        assert not node.conf.exists()
        may_answer.set()
        until(lambda: "" if node.file.exists() else "it is not written", 60)


def test_stopped_before_there_was_an_answer(tmp_path: Path) -> None:
    node = Node(tmp_path)
    with kept(node.keeper):
        pass
    assert not node.conf.exists()


def test_the_status_has_the_warnings() -> None:
    world, effects = step(fresh(), ConflistLooked(("something sorts before ours",)))
    assert effects == []
    assert status(world, Plan(KernelState()))["warnings"] == ["something sorts before ours"]


def test_a_node_without_a_list_is_not_ready_and_one_whose_list_cannot_be_changed_is(tmp_path: Path) -> None:
    node, said = Node(tmp_path), list[ConflistLooked]()
    node.conf.write_text("a file")
    Keeper(node.place, said.append).look()
    node.conf.unlink()
    node.keeper.look()
    node.file.write_text("{}")
    with full_disk():
        Keeper(node.place, said.append).look()
    missing, there = said
    assert missing.missing.startswith(f"{node.file} cannot be written: File exists; see to that directory")
    assert there.warnings[0].startswith(f"{node.file} cannot be written: File too large; ")
    assert there.missing == ""
    world, _ = step(synced(), missing)
    assert not_ready(world) == [f"runtimes know of no network: {missing.missing}"]
    assert not_ready(step(world, there)[0]) == []


@contextmanager
def full_disk() -> Iterator[None]:
    """No file grows (setrlimit(2); Python ignores SIGXFSZ)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
