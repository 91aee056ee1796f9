"""`bgpnetctl get`."""

from __future__ import annotations

import click

from bgpnet_ctl import completing, params
from bgpnet_ctl.session import Session, connected, pass_session, warn


@click.command(short_help="Show resources.")
@click.argument("words", nargs=-1, metavar="[KIND [NAME]... | KIND/NAME...]", shell_complete=completing.target)
@params.filename_option("get", required=False)
@params.recursive_option
@params.output_option(params.RESOURCES)
@click.option("--export", is_flag=True, help="Leave out what belongs to this cluster alone: uid, revision, status.")
@click.option("-n", "--namespace", metavar="NAME", help="Only what is in this namespace; all count unless told.")
@click.option("-A", "-a", "--all-namespaces", is_flag=True, help="Also show each one's namespace, in a column.")
@connected
@pass_session
def get(
    session: Session,
    words: tuple[str, ...],
    filenames: tuple[str, ...],
    recursive: bool,
    output: str,
    export: bool,
    namespace: str | None,
    all_namespaces: bool,
) -> None:
    """Show resources: all of a kind, those named, or those that a file names.

    Kinds: ippool, ipreservation, ipamconfiguration, bgpconfiguration, bgppeer, bgpfilter, node, clusterinformation,
    ipamblock, releaserequest, and what follows from those: workloadendpoint (wep), blockaffinity, nodestatus; any case,
    singular, plural or short. The nodestatus of this machine's node has its BGP sessions, which only its agent knows.

    \b
    Examples:
      bgpnetctl get ippool
      bgpnetctl get nodes -o wide
      bgpnetctl get ippool blue red -o yaml > pools.yaml
      bgpnetctl get ippool -o custom-columns=NAME,IPIPMODE
      bgpnetctl get -f pools.yaml -o json
      bgpnetctl get wep -A -o wide
      bgpnetctl get nodestatus node1 -o yaml
    """
    if bool(words) == bool(filenames):
        raise click.UsageError("say what to get: either a KIND (and names), or files with -f")
    if namespace is not None and all_namespaces:
        raise click.UsageError("cannot use both --namespace and --all-namespaces flags at the same time")
    from bgpnet_ctl import reading

    repo = session.repo()
    namespaces = reading.Namespaces(namespace, all_namespaces)
    click.echo(reading.get(repo, words, filenames, output, namespaces, session.ask, export, recursive), nl=False)
    for broken in repo.broken:
        warn(str(broken))
