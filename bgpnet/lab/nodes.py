"""Runs a topology on this machine: deploy, find, execute in nodes, destroy.

A node is a set of namespaces held by its process 1 (holder); what a lab made is on record (record) before it is made,
so that a deploy that was killed at any instant can be destroyed. The order is containerlab's: the node's command
starts, then its links appear, then its exec lines run.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bgpnet import files
from bgpnet.errors import UsageError
from bgpnet.lab import record
from bgpnet.lab.holder import Holder, HolderFailed, start
from bgpnet.lab.links import bring_up_lines, create_lines
from bgpnet.lab.record import Book, LabRecord, NodeRecord
from bgpnet.lab.topology import Node, Topology

NETNS = Path("/run/netns")
_STEP_SECONDS = 60
_PASSED_ON = ("HOME", "LANG", "LANGUAGE", "TERM", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Say = Callable[[str], None]


@dataclass(slots=True)
class Lab:
    """A lab that is on record; `nodes` by short name."""

    book: Book

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.book.record.name

    @property
    def nodes(self) -> dict[str, NodeRecord]:
        """Its nodes by short name, in the topology's order."""
        return {node.name: node for node in self.book.record.nodes}

    def node(self, name: str) -> NodeRecord:
        """The node of that short or container name; raises UsageError, naming those there are."""
        for node in self.book.record.nodes:
            if name in (node.name, node.container):
                if node.kind == "bridge":
                    raise UsageError(f"node {name} is a bridge of this machine: run the command itself, outside")
                if not node.running:
                    raise UsageError(f"node {name} of lab {self.name} is not running: destroy and deploy the lab")
                return node
        raise UsageError(f"node {name}: lab {self.name} has {', '.join(self.nodes) or 'no nodes'}")

    def argv(self, name: str, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` inside the node; give it `environment(name)`.

        Its process stands outside and passes the exit code; when it ends, what it runs inside gets SIGTERM.
        """
        enter = ["nsenter", "--target", str(self.node(name).pid), "--mount", "--uts", "--net", "--pid", "--"]
        return [*enter, "setpriv", "--pdeathsig", "TERM", "--", *argv]

    def environment(self, name: str) -> dict[str, str]:
        """The node's environment, with the caller's terminal."""
        env = dict(self.node(name).env)
        if "TERM" in os.environ:
            env["TERM"] = os.environ["TERM"]
        return env

    def exec(
        self, name: str, argv: Sequence[str], *, stdin: str = "", timeout: float = _STEP_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside a node and collect what it says; its exit code is in the result.

        Raises UsageError for an unknown node and when it takes longer than `timeout` seconds.
        """
        command = self.argv(name, argv)
        try:
            return subprocess.run(
                command, env=self.environment(name), input=stdin, capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            raise UsageError(f"node {name}: {shlex.join(argv)} took longer than {timeout:g} s") from error

    def popen(self, name: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command inside a node; the options are subprocess.Popen's, the environment is the node's."""
        return subprocess.Popen(self.argv(name, argv), env=self.environment(name), **options)

    def destroy(self) -> None:
        """End the lab and remove all that it made; raises UsageError where something does not go."""
        with _locked(self.book.folder):
            _remove(self.book)


def deploy(topology: Topology, say: Say, run: Path = record.RUN) -> Lab:
    """Run the topology, saying what is done and what exec lines print; raises UsageError.

    A lab of that name must not be there. What fails half-way is undone before the error leaves.
    """
    _check(topology, run)
    folder = run / topology.name
    folder.mkdir(parents=True)
    book = Book(folder, LabRecord(topology.name, topology.file))
    with _locked(folder):
        try:
            _bring_up(topology, book, say)
        except BaseException:
            _remove(book)
            raise
    return Lab(book)


def find(name: str, run: Path = record.RUN) -> Lab:
    """The lab of that name; raises UsageError, naming those there are."""
    if not name or not (run / name).is_dir():
        raise UsageError(f"no lab {name} here: there are {', '.join(names(run)) or 'none'}; deploy it first")
    book = Book(run / name)
    book.read()
    return Lab(book)


def names(run: Path = record.RUN) -> list[str]:
    """The names of all labs on record."""
    try:
        return sorted(entry.name for entry in run.iterdir() if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):  # there is none: the last lab takes the folder with it
        return []


def _check(topology: Topology, run: Path) -> None:
    """All that can be refused before anything is made."""
    if os.geteuid() != 0:
        raise UsageError("the lab makes network namespaces: run it as root")
    missing = [program for program in ("ip", "nsenter") if not shutil.which(program)]
    if missing:
        raise UsageError(f"programs {', '.join(missing)} are missing: apt-get install iproute2 util-linux")
    if (run / topology.name).exists():
        raise UsageError(f"lab {topology.name} is already deployed: destroy it first, or deploy with --reconfigure")
    for node in topology.nodes.values():
        if node.kind == "bridge":
            if not Path("/sys/class/net", node.name, "bridge").is_dir():
                command = f"ip link add {node.name} type bridge && ip link set {node.name} up"
                raise UsageError(f"node {node.name}: no bridge of that name on this machine, make it first: {command}")
        elif (NETNS / node.container).is_symlink() or (NETNS / node.container).exists():
            raise UsageError(
                f"node {node.name}: {NETNS / node.container} exists: remove it or give the lab another name or prefix"
            )


@contextmanager
def _locked(folder: Path, seconds: float = 10) -> Iterator[None]:
    """One command at a time works on a lab; raises UsageError when another still does after `seconds`."""
    with ExitStack() as stack:
        try:
            stack.enter_context(files.locked(folder, seconds))
        except TimeoutError:
            raise UsageError(f"lab {folder.name}: another command works on it, try again later") from None
        yield


def _bring_up(topology: Topology, book: Book, say: Say) -> None:
    begun = time.monotonic()
    own = [node for node in topology.nodes.values() if node.kind != "bridge"]
    _note_bridges(topology, book)
    _make_sources(own, book)
    pids = {node.name: _start_node(node, book) for node in own}
    _wire(topology, pids, book)
    say(f"lab {topology.name}: {len(pids)} nodes, {len(topology.links)} links")
    lab = Lab(book)
    for node in own:
        for line in node.exec:
            _exec_line(lab, node.name, line, say)
    book.write(complete=True)
    say(f"lab {topology.name}: deployed in {time.monotonic() - begun:.2f} s")


def _note_bridges(topology: Topology, book: Book) -> None:
    bridges = {name for name, node in topology.nodes.items() if node.kind == "bridge"}
    ends = [end.interface for link in topology.links for end in (link.a, link.b) if end.node in bridges]
    for end in ends:
        if Path("/sys/class/net", end).exists():
            raise UsageError(f"interface {end} exists on this machine: take another name for the bridge's end")
    records = tuple(NodeRecord(name, name, "bridge") for name in topology.nodes if name in bridges)
    book.write(nodes=records, links=tuple(ends))


def _make_sources(nodes: list[Node], book: Book) -> None:
    """Make bind sources that are missing, as directories, like docker does; on record first."""
    for bind in (bind for node in nodes for bind in node.binds if bind.source):
        missing = Path(bind.source)
        if missing.exists():
            continue
        while not missing.parent.exists():
            missing = missing.parent
        book.write(made=(*book.record.made, str(missing)))
        try:
            os.makedirs(bind.source)
        except OSError as error:
            raise UsageError(f"bind source {bind.source} is missing and cannot be made: {error.strerror}") from error


def _start_node(node: Node, book: Book) -> int:
    scratch = book.folder / node.name
    scratch.mkdir()
    log = book.folder / f"{node.name}.log"
    env = _environment(node)
    try:
        holder = start(node, scratch, log, env)
    except HolderFailed as error:
        raise UsageError(f"node {node.name}: {error}") from error
    return _record_node(node, holder, env, log, book)


def _record_node(node: Node, holder: Holder, env: dict[str, str], log: Path, book: Book) -> int:
    made = NodeRecord(
        node.name, node.container, node.kind, node.image, holder.pid, record.start_time(holder.pid), env, node.labels,
        str(log),
    )  # fmt: skip
    try:
        if not NETNS.is_dir():
            book.write(made=(*book.record.made, str(NETNS)))
            NETNS.mkdir(parents=True)
        book.write(nodes=(*book.record.nodes, made))
        (NETNS / node.container).symlink_to(f"/proc/{holder.pid}/ns/net")
    except BaseException:
        holder.abandon()
        raise
    holder.release()
    return holder.pid


def _environment(node: Node) -> dict[str, str]:
    """What a node's processes start with: little of ours, our programs first on PATH, then what the file says."""
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    env["PATH"] = f"{os.path.dirname(sys.executable)}:{_SYSTEM_PATH}"
    env["HOSTNAME"] = node.name
    labels = {f"CLAB_LABEL_{key.upper().replace('-', '_')}": value for key, value in node.labels.items()}
    return env | labels | node.env


def _wire(topology: Topology, pids: Mapping[str, int], book: Book) -> None:
    lines = [line for link in topology.links for line in create_lines(link, pids)]
    _ip_batch(["ip"], lines)
    for node in book.record.nodes:
        if node.name in pids:
            _ip_batch(["ip", "-n", node.container], bring_up_lines(node.name, topology.links), node.name)


def _ip_batch(command: list[str], lines: list[str], node: str = "") -> None:
    if not lines:
        return
    done = subprocess.run(
        [*command, "-batch", "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=_STEP_SECONDS,
    )
    if done.returncode != 0:
        subject = f"node {node}" if node else "links"
        raise UsageError(f"{subject}: ip says {' '.join(done.stderr.split())}")


def _exec_line(lab: Lab, node: str, line: str, say: Say) -> None:
    done = lab.exec(node, shlex.split(line))
    for text in (done.stdout + done.stderr).splitlines():
        say(f"{node}: {text}")
    if done.returncode != 0:
        raise UsageError(f"node {node}: exec {line!r} ended with status {done.returncode}: mend it in the topology")


def _remove(book: Book) -> None:
    """Everything on record, in the order in which it stops mattering; may be repeated."""
    for interface in book.record.links:
        if Path("/sys/class/net", interface).exists():
            subprocess.run(["ip", "link", "del", interface], capture_output=True, timeout=_STEP_SECONDS, check=False)
    for node in book.record.nodes:
        if node.kind == "bridge":
            continue
        record.end_process(node.pid, node.started)
        link = NETNS / node.container
        if link.is_symlink() and os.readlink(link) == f"/proc/{node.pid}/ns/net":
            link.unlink()
    for path in reversed(book.record.made):
        if path == str(NETNS):
            with suppress(OSError):  # others use it meanwhile
                NETNS.rmdir()
        else:
            shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(book.folder, ignore_errors=True)
    with suppress(OSError):  # other labs are there
        book.folder.parent.rmdir()
