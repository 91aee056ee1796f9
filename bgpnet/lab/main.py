"""`bgpnet lab`: runs a containerlab topology on this machine, with containerlab's words and flags."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bgpnet.errors import BgpnetError, Invalid, UsageError
from bgpnet.lab import nodes, parse
from bgpnet.lab.nodes import Lab
from bgpnet.lab.record import NodeRecord
from bgpnet.lab.topology import Topology

if TYPE_CHECKING:
    from bgpnet.lab.demo import Demo

_PATTERNS = ("*.clab.yml", "*.clab.yaml")


class _Group(click.Group):
    """Shows our errors as sentences: one a line, exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; a signal that asks us to end unwinds, so that what is half-made is undone."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _leave)
        try:
            return super().invoke(ctx)
        except Invalid as error:
            for finding in error.findings:
                click.echo(f"{error.subject}: {finding}", err=True)
            ctx.exit(1)
        except BgpnetError as error:
            click.echo(f"bgpnet lab: {error}", err=True)
            ctx.exit(1)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@click.group(cls=_Group, name="lab", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Run a containerlab topology on this machine, without a container engine."""


topo_option = click.option(
    "-t", "--topo", metavar="FILE", help="The topology; default: the only *.clab.yml here or in containerlab/."
)
name_option = click.option("-n", "--name", metavar="LAB", help="The lab's name.")


@command.command()
@topo_option
def validate(topo: str | None) -> None:
    """Check a topology and say everything that is wrong with it.

    \b
    bgpnet lab validate -t containerlab/mesh.clab.yml
    """
    topology = load(topo)
    click.echo(f"{topology.file}: lab {topology.name}, {len(topology.nodes)} nodes, {len(topology.links)} links: good")


@command.command()
@topo_option
@name_option
@click.option("-c", "--reconfigure", is_flag=True, help="Destroy a lab of that name first.")
def deploy(topo: str | None, name: str | None, reconfigure: bool) -> None:
    """Run a topology; it stays until `bgpnet lab destroy`.

    \b
    bgpnet lab deploy -t containerlab/mesh.clab.yml
    bgpnet lab deploy --reconfigure
    """
    topology = load(topo, name or "")
    if reconfigure and topology.name in nodes.names():
        nodes.find(topology.name).destroy()
    nodes.deploy(topology, click.echo)


@command.command()
@topo_option
@name_option
@click.option("-a", "--all", "every", is_flag=True, help="All labs of this machine.")
@click.option("-y", "--yes", is_flag=True, help="Accepted for containerlab's sake: nothing is asked.")
@click.option("-c", "--cleanup", is_flag=True, help="Accepted for containerlab's sake: nothing is ever left.")
def destroy(topo: str | None, name: str | None, every: bool, yes: bool, cleanup: bool) -> None:
    """End a lab and remove everything that it made.

    \b
    bgpnet lab destroy -t containerlab/mesh.clab.yml
    bgpnet lab destroy --name mesh
    bgpnet lab destroy --all
    """
    for lab in _labs(topo, name, every):
        lab.destroy()
        click.echo(f"lab {lab.name}: destroyed")


@command.command()
@topo_option
@name_option
@click.option("-a", "--all", "every", is_flag=True, help="All labs of this machine.")
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def inspect(topo: str | None, name: str | None, every: bool, form: str) -> None:
    """Show the nodes of a lab.

    \b
    bgpnet lab inspect
    bgpnet lab inspect --all -f json
    """
    labs = _labs(topo, name, every)
    if form == "json":
        click.echo(
            json.dumps({lab.name: [_details(lab, node) for node in lab.nodes.values()] for lab in labs}, indent=2)
        )
        return
    rows = [("LAB", "NAME", "NODE", "KIND", "PID", "STATE", "LOG")]
    for lab in labs:
        for node in lab.nodes.values():
            rows.append(
                (lab.name, node.container, node.name, node.kind, str(node.pid or "-"), _state(node), node.log or "-")
            )
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@command.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@topo_option
@name_option
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Only nodes with this label.")
@click.option("--cmd", "line", metavar="LINE", help="The command, as one line.")
@click.option("-f", "--format", "form", type=click.Choice(["plain", "json"]), default="plain", show_default=True)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[NODE [--] COMMAND...]")
def exec_(
    topo: str | None, name: str | None, labels: tuple[str, ...], line: str | None, form: str, words: tuple[str, ...]
) -> None:
    """Run a command in nodes; the exit code is the command's.

    \b
    bgpnet lab exec node1 ip route
    bgpnet lab exec node1 -- sh -c 'ip -4 addr | grep inet'
    bgpnet lab exec -t containerlab/mesh.clab.yml --label clab-node-name=node2 --cmd 'ip -4 route'
    bgpnet lab exec --cmd 'ip -br addr' -f json
    """
    lab = _one(topo, name)
    if words:
        if line or labels or form != "plain":
            raise UsageError("give either a node and its command, or --cmd with --label")
        argv = words[2:] if words[1:2] == ("--",) else words[1:]
        if not argv:
            raise UsageError(f"give a command, as in `bgpnet lab exec {words[0]} ip route`")
        _become(lab, words[0], argv)
    if not line:
        raise UsageError("give --cmd 'LINE', or a node and a command")
    sys.exit(_on_matching(lab, labels, line, form))


def _become(lab: Lab, node: str, argv: Sequence[str]) -> NoReturn:
    """Become the command: its streams, its signals and its exit code are ours. Ctrl-C is the command's to handle."""
    command = lab.argv(node, ["env", "--default-signal=INT,PIPE", *argv])
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.execvpe(command[0], command, lab.environment(node))  # noqa: S606 - the arguments are the person's own


def _on_matching(lab: Lab, labels: tuple[str, ...], line: str, form: str) -> int:
    wanted = dict(_label(label) for label in labels)
    chosen = [
        node
        for node in lab.nodes.values()
        if node.kind != "bridge" and all(node.labels.get(key) == value for key, value in wanted.items())
    ]
    if not chosen:
        raise UsageError(f"no node of lab {lab.name} has {', '.join(labels)}: see `bgpnet lab inspect -f json`")
    results = {node.container: lab.exec(node.name, shlex.split(line)) for node in chosen}
    if form == "json":
        shown = {
            container: {"return-code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
            for container, done in results.items()
        }
        click.echo(json.dumps(shown, indent=2))
    else:
        for container, done in results.items():
            click.echo(f"{container}: {line}: status {done.returncode}", err=True)
            click.echo(done.stdout, nl=False)
            click.echo(done.stderr, nl=False, err=True)
    return next((done.returncode for done in results.values() if done.returncode), 0)


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--label {text}: write key=value, as in clab-node-name=node1")
    return key, value


@command.command()
@topo_option
def shell(topo: str | None) -> None:
    """Run a topology, give a shell in it, and take it down on leaving.

    Nodes that run an agent get two pods each, and bgpnetctl speaks to the first of them.

    Where this kernel has no ipip, all of it runs inside User Mode Linux.

    \b
    bgpnet lab shell -t containerlab/mesh.clab.yml
    echo 'bgpnet lab exec node1 ip route' | bgpnet lab shell
    """
    from bgpnet.lab import uml

    topology = load(topo)
    if not uml.has_ipip():
        click.echo("This kernel has no ipip: the lab runs inside User Mode Linux.", err=True)
        again = [sys.executable, "-m", "bgpnet", "lab", "shell", "-t", topology.file]
        person = sys.stdin.isatty() and sys.stdout.isatty()
        sys.exit(uml.run_inside(again, interactive=person, visible=needed(topology)))
    from bgpnet.lab import demo as demonstration

    say = _Lines()
    findings = demonstration.Findings()
    lab = nodes.deploy(topology, say)
    try:
        show = demonstration.Demo(lab, findings, Path(topology.file).parents[1], say)
        if show.names:
            say("waiting for the agents, making pods")
            show.come_up()
            show.make_pods()
        code = _shell(lab, show, topology)
    finally:
        lab.destroy()
        say(f"lab {lab.name}: destroyed")
    sys.exit(code)


class _Lines:
    """Says lines on standard error, which leaves standard output to what runs in the shell."""

    def __call__(self, text: str) -> None:
        click.echo(text, err=True)


@command.command()
@topo_option
@click.option("--out", metavar="DIR", default="build", show_default=True, help="Where demo.json goes.")
def demo(topo: str | None, out: str) -> None:
    """Deploy, make pods, prove that they reach each other, report, take down.

    Where this kernel has no ipip, all of it runs inside User Mode Linux. Exit code 0 only if everything held.

    \b
    bgpnet lab demo -t containerlab/mesh.clab.yml
    """
    from bgpnet.lab import demo as demonstration
    from bgpnet.lab import report, uml

    topology = load(topo)
    folder = Path(out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not uml.has_ipip():
        click.echo("This kernel has no ipip: the lab runs inside User Mode Linux.")
        again = [sys.executable, "-m", "bgpnet", "lab", "demo", "-t", topology.file, "--out", str(folder)]
        sys.exit(uml.run_inside(again, out=folder, visible=needed(topology)))
    findings = demonstration.run(topology, lambda text: click.echo(text, nl=False))
    click.echo("\n" + report.report(findings))
    demonstration.write(findings, folder)
    sys.exit(1 if findings.problems else 0)


def _shell(lab: Lab, show: Demo, topology: Topology) -> int:
    """A shell on the outer side of the lab; its exit code."""
    here = os.path.dirname(sys.executable)
    env = os.environ | {"PATH": f"{here}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}"}
    env |= show.operator(topology)
    env["PS1"] = f"[lab {lab.name}] \\w # "
    argv = ["bash", "--norc"]
    if sys.stdin.isatty():
        first = next(iter(lab.nodes))
        click.echo(f"Lab {lab.name} is up: {', '.join(lab.nodes)}. Leave with exit; the lab goes with you.")
        click.echo(
            f"Try: bgpnet lab exec {first} ip route | bgpnet lab inspect | ip netns | tail {lab.nodes[first].log}"
        )
        for pod in show.findings.pods:
            click.echo(f"  {pod.name} {pod.address}: bgpnet lab exec {pod.node} -- ip netns exec {pod.name} ping …")
        if show.names:
            click.echo(f"bgpnetctl speaks to {show.names[0]}'s agent: bgpnetctl node status | bgpnetctl ipam show")
        argv.append("-i")
    return subprocess.call(argv, env=env)


def load(topo: str | None, name: str = "") -> Topology:
    """The topology of a file, or the only one here; raises Invalid or UsageError."""
    path = _file(topo)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"topology {path}: {error.strerror}: give a file with -t") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"topology {path}: not text in UTF-8: give a *.clab.yml with -t") from error
    return parse.parse(text, str(path.resolve()), os.environ, name)


def needed(topology: Topology) -> list[Path]:
    """The directories of this machine that the topology reads: its own, and those of its binds."""
    sources = [Path(bind.source) for node in topology.nodes.values() for bind in node.binds if bind.source]
    return [Path(topology.file).parent, *(path if path.is_dir() else path.parent for path in sources if path.exists())]


def _file(topo: str | None) -> Path:
    if topo and not Path(topo).is_dir():
        return Path(topo)
    folders = [Path(topo)] if topo else [Path(), Path("containerlab")]
    for folder in folders:
        found = sorted(file for pattern in _PATTERNS for file in folder.glob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"topologies {', '.join(map(str, found))}: choose one with -t")
    raise UsageError(f"no *.clab.yml in {' or '.join(str(folder.absolute()) for folder in folders)}: give one with -t")


def _labs(topo: str | None, name: str | None, every: bool) -> list[Lab]:
    if every:
        return [nodes.find(name) for name in nodes.names()]
    return [_one(topo, name)]


def _one(topo: str | None, name: str | None) -> Lab:
    """The lab that is meant: named, of the topology, the only one deployed, or of the only topology here."""
    if name:
        return nodes.find(name)
    if not topo:
        deployed = nodes.names()
        if len(deployed) == 1:
            return nodes.find(deployed[0])
        if not deployed:
            raise UsageError("no lab is deployed here: `bgpnet lab deploy` first")
    return nodes.find(load(topo).name)


def _state(node: NodeRecord) -> str:
    return "running" if node.running else "exited"


def _details(lab: Lab, node: NodeRecord) -> dict[str, Any]:
    """containerlab's fields (docs/cmd/inspect), and ours: node, pid, log."""
    file = lab.book.record.file
    return {
        "lab_name": lab.name,
        "labPath": os.path.relpath(file) if file else "",
        "absLabPath": file,
        "name": node.container,
        "container_id": str(node.pid) if node.pid else "N/A",
        "image": node.image or "N/A",
        "kind": node.kind,
        "state": _state(node),
        "status": _state(node),
        "ipv4_address": "N/A",
        "ipv6_address": "N/A",
        "owner": "root",
        "node": node.name,
        "pid": node.pid,
        "log": node.log,
        "labels": node.labels,
    }


if __name__ == "__main__":
    command(prog_name="bgpnet lab")
