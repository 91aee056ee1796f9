"""`bgpnetctl bgp explain`, `topology` and `convert`."""

from __future__ import annotations

import click

from bgpnet_ctl import completing, params
from bgpnet_ctl.session import Session, connected, pass_session, warn


@click.group(short_help="Ask why a route is taken or told; see the sessions; go over to route reflectors.")
def bgp() -> None:
    """Look into BGP: which rule decides of a route, who speaks with whom; and go from the mesh to route reflectors."""


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


@bgp.command(short_help="Show who speaks BGP with whom, and what would be better.")
@params.output_option((params.TABLE, params.WIDE, params.YAML, params.JSON))
@connected
@pass_session
def topology(session: Session, output: str) -> None:
    """Show the sessions of all nodes, each once, and advise.

    What sessions there should be follows from Nodes, BGPPeers and BGPConfigurations; whether they are up is the nodes'
    own word, which their agents publish within seconds. A session of nodes that say nothing is `unknown`.

    \b
    Examples:
      bgpnetctl bgp topology
      bgpnetctl bgp topology -o json
    """
    import time

    from bgpnet_ctl import topologies
    from bgpnet_ctl.topology import read

    repo = session.repo()
    click.echo(topologies.shown(read(repo, time.time()), output), nl=False)
    for broken in repo.broken:
        warn(str(broken))


@bgp.command(short_help="Go from the mesh to route reflectors, or back, without losing a route.")
@click.option("--to", "target", type=click.Choice(["route-reflector", "mesh"]), required=True, help="Where to.")
@click.option(
    "--nodes",
    metavar="NAME,NAME...",
    help="The nodes that become reflectors.  [default: two, of different subnets where there are any]",
)
@click.option("--cluster-id", metavar="A.B.C.D", help="Their cluster ID.  [default: 244.0.0.1]")
@click.option("--dry-run", is_flag=True, help="Only print the steps.")
@click.option(
    "--timeout", type=click.IntRange(1), default=300, show_default=True, metavar="SECONDS", help="For a step."
)
@connected
@pass_session
def convert(
    session: Session, target: str, nodes: str | None, cluster_id: str | None, dry_run: bool, timeout: int
) -> None:
    """Go from the node-to-node mesh to route reflectors, or back. Make before break: not one route is withdrawn.

    What replaces a session is up and has every route, by the word of every node, before the session goes. Ended
    half-way, by a kill or because a node does not answer, the same command goes on, and the other direction goes back.

    \b
    Examples:
      bgpnetctl bgp convert --to route-reflector --dry-run
      bgpnetctl bgp convert --to route-reflector --nodes node1,node2
      bgpnetctl bgp convert --to mesh
    """
    from bgpnet_ctl import conversions

    if target == "mesh" and (nodes or cluster_id):
        raise click.UsageError("--nodes and --cluster-id are for --to route-reflector: leave them out")
    named = [name.strip() for name in nodes.split(",") if name.strip()] if nodes is not None else None
    conversions.run(session.repo(), target == "mesh", named, cluster_id, timeout, dry_run=dry_run, say=click.echo)
