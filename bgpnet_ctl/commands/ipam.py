"""`bgpnetctl ipam show`."""

from __future__ import annotations

import click

from bgpnet_ctl import params
from bgpnet_ctl.session import Session, connected, pass_session, warn


@click.group()
def ipam() -> None:
    """Look at where the addresses are."""


@ipam.command()
@click.option("--show-blocks", is_flag=True, help="Also show each pool's blocks.")
@click.option("--ip", "address", metavar="ADDRESS", help="Show who has this address instead.")
@params.output_option((params.TABLE, params.WIDE, params.YAML, params.JSON))
@connected
@pass_session
def show(session: Session, show_blocks: bool, address: str | None, output: str) -> None:
    """Show how much of each pool is in use, or who has an address.

    \b
    Examples:
      bgpnetctl ipam show
      bgpnetctl ipam show --show-blocks -o wide
      bgpnetctl ipam show --ip 10.244.0.5
    """
    if address is not None and show_blocks:
        raise click.UsageError("--ip and --show-blocks do not go together: ask for one of them")
    from bgpnet_ctl import utilisation

    repo = session.repo()
    if address is None:
        click.echo(utilisation.shown(repo, show_blocks, output), nl=False)
    else:
        click.echo(utilisation.holder(repo, address, output), nl=False)
    for broken in repo.broken:
        warn(str(broken))
