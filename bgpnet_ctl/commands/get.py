"""`bgpnetctl get`."""

from __future__ import annotations

import click

from bgpnet_ctl import params
from bgpnet_ctl.session import Session, connected, pass_session, warn


@click.command(short_help="Show resources.")
@click.argument("words", nargs=-1, metavar="[KIND [NAME]... | KIND/NAME...]", shell_complete=params.complete_target)
@params.filename_option("get", required=False)
@params.output_option(params.RESOURCES)
@connected
@pass_session
def get(session: Session, words: tuple[str, ...], filenames: tuple[str, ...], output: str) -> None:
    """Show resources: all of a kind, those named, or those that a file names.

    Kinds: ippool, bgppeer, bgpconfiguration, node, ipamblock; any case, singular, plural or short.

    \b
    Examples:
      bgpnetctl get ippool
      bgpnetctl get nodes -o wide
      bgpnetctl get ippool blue red -o yaml > pools.yaml
      bgpnetctl get -f pools.yaml -o json
    """
    if bool(words) == bool(filenames):
        raise click.UsageError("say what to get: either a KIND (and names), or files with -f")
    from bgpnet_ctl import reading

    repo = session.repo()
    click.echo(reading.get(repo, words, filenames, output), nl=False)
    for broken in repo.broken:
        warn(str(broken))
