"""`bgpnetctl node status` and `bgpnetctl node release`."""

from __future__ import annotations

import sys

import click

from bgpnet_ctl import completing, params
from bgpnet_ctl.session import Refused, Session, connected, pass_session


@click.group(short_help="Look at this machine's node; release a node's name.")
def node() -> None:
    """Look at this machine's node, and settle who holds a node's name."""


@node.command()
@params.output_option((params.TABLE, params.YAML, params.JSON))
@connected
@pass_session
def status(session: Session, output: str) -> None:
    """Show this machine's agent and its BGP sessions, with the reasons where it is not ready.

    \b
    Examples:
      bgpnetctl node status
      bgpnetctl node status -o json
    """
    from bgpnet.errors import AgentAway
    from bgpnet_ctl import status as report

    client = session.agent()
    try:
        answer = client.ask("status")
    except AgentAway as error:
        raise Refused(f"bgpnet agent is not running.\n{error}") from error
    click.echo(report.shown(answer, output), nl=False)


@node.command(short_help="Take a node's name, or the blocks of a node that is gone.")
@click.argument("name", shell_complete=completing.node)
@click.option("--yes", is_flag=True, help="Do not ask.")
@connected
@pass_session
def release(session: Session, name: str, yes: bool) -> None:
    """Take the name of a node from the machine that holds it, so that another can have it.

    Do this when the machine is gone or was installed anew. Where it still runs, stop its agent first: two machines
    that act as one node are an outage.

    Where the Node was deleted already and blocks of its own are left, they are released with all their addresses:
    the machine must be gone for good, or its pods would share their addresses with new ones.

    \b
    Example:
      bgpnetctl node release node2 --yes
    """
    from bgpnet_ctl import holders

    repo = session.repo()
    if blocks := holders.left_behind(repo, name):
        live = sum(one.freedAt is None for block in blocks for one in block.spec.allocations.values())
        shown = ", ".join(block.spec.cidr for block in blocks)
        click.echo(
            f"Node {name} does not exist, and owns {len(blocks)} block(s) with {live} addresses in use: {shown}."
        )
        _sure(yes, name, f"Is that machine gone for good, and may others have these addresses? Release {name}?")
        holders.give_back(repo, name, blocks)
        click.echo(f"Successfully released {len(blocks)} block(s) of node {name}.")
        return
    identity = holders.identity(repo, name)
    if identity is None:
        click.echo(f"Node {name} is held by no machine: there is nothing to release.")
        return
    click.echo(f"Node {name} is held by machine {identity.uuid}, last heard of at {identity.heartbeat}.")
    _sure(yes, name, f"Release the name {name}?")
    holders.release(repo, name, identity.uuid)
    click.echo(f"Successfully released the name of 1 'Node' resource(s): the next agent called {name} will hold it.")


def _sure(yes: bool, name: str, question: str) -> None:
    """Ask; raises UsageError where nobody is there to answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"nobody to ask here: write bgpnetctl node release {name} --yes")
    click.confirm(question, abort=True)
