"""`bgpnet speaker`: ExaBGP as this node's BGP speaker, a sidecar of the agent with a life of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bgpnet.bgp import launcher


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
