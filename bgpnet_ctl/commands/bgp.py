"""`bgpnetctl bgp explain`."""

from __future__ import annotations

import click

from bgpnet_ctl import completing, params
from bgpnet_ctl.session import Session, connected, pass_session


@click.group(short_help="Ask why a route is taken or not, and told or not.")
def bgp() -> None:
    """Look into BGP: which rule decides of a route."""


@bgp.command(short_help="Say which rule decides of a prefix, coming from a peer and going to it.")
@click.argument("prefix")
@click.option("--peer", required=True, metavar="NAME|ADDRESS", help="A BGPPeer, a node of the mesh, or an address.")
@click.option(
    "--node",
    metavar="NAME",
    shell_complete=completing.node,
    help="The node whose sessions are meant.  [default: this machine's, as its agent says]",
)
@click.option(
    "--community", "communities", multiple=True, metavar="AA:NN", help="Suppose that the peer's route has it."
)
@click.option("--as-path", metavar="'AS AS …'", help="Suppose that the peer's route has this path.")
@click.option("--next-hop", metavar="ADDRESS", help="Suppose that the peer's route has this next hop.")
@params.output_option((params.TABLE, params.YAML, params.JSON))
@connected
@pass_session
def explain(
    session: Session,
    prefix: str,
    peer: str,
    node: str | None,
    communities: tuple[str, ...],
    as_path: str | None,
    next_hop: str | None,
    output: str,
) -> None:
    """Say what becomes of PREFIX when the peer sends it, and whether the peer is told of it: which rule decides.

    This machine's agent answers for its own node, and knows what the peer really sends. For another node, or where no
    agent answers, the datastore's objects decide: then the import is that of a route that the peer might send, with the
    attributes that --community, --as-path and --next-hop suppose. Names of links are not in the datastore: rules with
    an interface match nothing there.

    \b
    Examples:
      bgpnetctl bgp explain 10.244.0.0/26 --peer tor
      bgpnetctl bgp explain 0.0.0.0/0 --peer 192.0.2.201 --node node2
      bgpnetctl bgp explain 10.99.0.0/24 --peer tor --community 65001:100 --as-path '65001 65002'
      bgpnetctl bgp explain 10.244.3.0/26 --peer node3 -o json
    """
    from bgpnet_ctl import explaining

    asked = explaining.asked(prefix, peer, communities, as_path, next_hop)
    answer = explaining.answer(session, asked, node)
    click.echo(explaining.shown(answer, output), nl=False)
