"""`bgpnet …`: one program, its parts imported only when they are called."""

from __future__ import annotations

import importlib
import sys

import click

from bgpnet.errors import BgpnetError
from bgpnet.version import VERSION

PARTS = {
    "agent": ("bgpnet.agent.main", "command", "run this node's agent"),
    "speaker": ("bgpnet.bgp.main", "command", "run ExaBGP as this node's BGP speaker (a sidecar of the agent)"),
    "relay": ("bgpnet.bgp.main", "relay", "pass lines between ExaBGP and the agent (ExaBGP starts it)"),
    "controller": ("bgpnet.controller.main", "command", "clean up after pods and nodes that are gone (one a cluster)"),
    "cni": ("bgpnet.cni.main", "command", "install the program that container runtimes execute"),
    "init": ("bgpnet.setup.main", "command", "create the cluster's first pool, once"),
    "lab": ("bgpnet.lab.main", "command", "run a containerlab topology on this machine"),
}


class Parts(click.Group):
    """Loads a part when it is named; listing them loads none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(PARTS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in PARTS:
            return None
        module, attribute, _ = PARTS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Parts"):
            formatter.write_dl([(name, about) for name, (_, _, about) in PARTS.items()])


@click.command(cls=Parts)
@click.version_option(VERSION, prog_name="bgpnet")
def program() -> None:
    """A BGP-routed container network with IP-in-IP.

    \b
    Examples:
      bgpnet agent --node node1 --ip 192.0.2.1/24
      bgpnet speaker
      bgpnet lab deploy -t containerlab/mesh.clab.yml
    """


def main() -> None:
    """The entry point: errors that are for people become one sentence and status 1."""
    try:
        program(prog_name="bgpnet")
    except BgpnetError as problem:
        click.echo(f"bgpnet: {problem}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
