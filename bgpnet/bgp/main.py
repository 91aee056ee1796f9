"""`bgpnet speaker`: ExaBGP as this node's BGP speaker, a sidecar of the agent with a life of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bgpnet.bgp import launcher
from bgpnet.bgp import relay as relaying


def _say(line: str) -> None:
    click.echo(f"bgpnet speaker: {line}", err=True)


@click.command("speaker")
@click.option(
    "--run-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="BGPNET_RUN_DIR",
    default=Path("/run/bgpnet"),
    show_default=True,
    help="Where the agent puts exabgp.conf.",
)
def command(run_dir: Path) -> None:
    """Run ExaBGP as this node's BGP speaker.

    It waits for the agent's configuration file, keeps its sessions while the agent is away, and ends on SIGTERM.

    \b
    Examples:
      bgpnet speaker
      bgpnet speaker --run-dir /run/bgpnet
    """
    sys.exit(launcher.serve(run_dir / "exabgp.conf", _say))


@click.command("relay")
@click.argument("socket", metavar="SOCKET")
def relay(socket: str) -> None:
    """Pass whole lines between ExaBGP, on standard input and output, and the agent that connects to SOCKET.

    ExaBGP starts it (as `python -m bgpnet.bgp.relay`, which needs less memory). It always reads what ExaBGP says,
    because ExaBGP stops speaking BGP when its helper stops reading.

    \b
    Examples:
      bgpnet relay /run/bgpnet/speaker.sock
    """
    sys.exit(relaying.main([socket]))
