"""`bgpnetctl ipam show`, `configure`, `reserve` and `split`."""

from __future__ import annotations

import click

from bgpnet_ctl import completing, params
from bgpnet_ctl.commands import ipam_check
from bgpnet_ctl.session import Session, connected, pass_session, warn


@click.group(short_help="Look at addresses, check and repair their bookkeeping, change how they are given.")
def ipam() -> None:
    """Look at where the addresses are, check and repair their bookkeeping, and change how they are given to pods."""


@ipam.command(short_help="Show how full the pools are, or who has an address.")
@click.option("--show-blocks", is_flag=True, help="Also show each pool's blocks.")
@click.option("--ip", "address", metavar="ADDRESS", help="Show who has this address instead.")
@click.option("--show-configuration", is_flag=True, help="Show how addresses are given instead.")
@click.option("--show-reserved", is_flag=True, help="Show what is reserved instead.")
@click.option("--show-borrowed", is_flag=True, help="Show borrowed addresses instead; there are none, ever.")
@params.output_option((params.TABLE, params.WIDE, params.YAML, params.JSON))
@connected
@pass_session
def show(
    session: Session,
    show_blocks: bool,
    address: str | None,
    show_configuration: bool,
    show_reserved: bool,
    show_borrowed: bool,
    output: str,
) -> None:
    """Show how much of each pool is in use, or who has an address.

    In use, reserved, free and resting addresses add up to the total: reserved are those that an IPReservation keeps
    and nobody has; resting are those released a moment ago. A block is idle when its owner found it empty for a
    minute: then another node may take it. Blocks that lie in no pool are grouped below the pools.

    \b
    Examples:
      bgpnetctl ipam show
      bgpnetctl ipam show --show-blocks -o wide
      bgpnetctl ipam show --ip 10.244.0.5
      bgpnetctl ipam show --show-configuration
    """
    asked = {
        "--ip": address is not None,
        "--show-blocks": show_blocks,
        "--show-configuration": show_configuration,
        "--show-reserved": show_reserved,
        "--show-borrowed": show_borrowed,
    }
    given = [name for name, is_given in asked.items() if is_given]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} do not go together: ask for one of them")
    from bgpnet_ctl import settings, utilisation

    repo = session.repo()
    if address is not None:
        click.echo(utilisation.holder(repo, address, output), nl=False)
    elif show_configuration:
        click.echo(settings.shown(repo, output), nl=False)
    elif show_reserved:
        click.echo(settings.reserved(repo, output), nl=False)
    elif show_borrowed:
        click.echo(utilisation.borrowed(output), nl=False)
    else:
        click.echo(utilisation.shown(repo, show_blocks, output), nl=False)
    for broken in repo.broken:
        warn(str(broken))


@ipam.command(short_help="Change or show how nodes take blocks and addresses.")
@click.option("--strictaffinity", type=click.BOOL, metavar="true|false", help="Always true: blocks are exclusive.")
@click.option("--auto-allocate-blocks", type=click.BOOL, metavar="true|false", help="Whether nodes claim new blocks.")
@click.option("--max-blocks-per-host", type=int, metavar="N", help="Blocks that a node may own; 0 is the built-in 20.")
@click.option("--ip-cooldown-seconds", type=int, metavar="N", help="How long a released address rests; 0 to 1200.")
@params.output_option((params.TABLE, params.YAML, params.JSON))
@connected
@pass_session
def configure(
    session: Session,
    strictaffinity: bool | None,
    auto_allocate_blocks: bool | None,
    max_blocks_per_host: int | None,
    ip_cooldown_seconds: int | None,
    output: str,
) -> None:
    """Change how nodes take blocks and addresses; without options, show it. IPAMConfiguration default holds it.

    \b
    Examples:
      bgpnetctl ipam configure --max-blocks-per-host 4
      bgpnetctl ipam configure --ip-cooldown-seconds 60 --auto-allocate-blocks true
      bgpnetctl ipam configure -o json
    """
    if strictaffinity is False:
        raise click.UsageError(
            "--strictaffinity false: blocks are exclusive, because one writer a block keeps its addresses from being "
            "given twice; leave the option out, and give the pool smaller blocks where addresses run out"
        )
    from bgpnet_ctl import settings

    given = {
        "strictAffinity": strictaffinity,
        "autoAllocateBlocks": auto_allocate_blocks,
        "maxBlocksPerHost": max_blocks_per_host,
        "ipCooldownSeconds": ip_cooldown_seconds,
    }
    changes: dict[str, object] = {field: value for field, value in given.items() if value is not None}
    repo = session.repo(may_make=bool(changes))
    if not changes:
        click.echo(settings.shown(repo, output), nl=False)
        return
    for line in settings.configure(repo, changes):
        click.echo(line)


@ipam.command(short_help="Keep addresses from pods, or give them back.")
@click.argument("cidrs", nargs=-1, metavar="[CIDR]...")
@click.option("--name", metavar="NAME", help="What to call the IPReservation; one of that name gets these in addition.")
@click.option(
    "--delete", "unwanted", metavar="NAME", shell_complete=completing.reservation, help="Give back what it keeps."
)
@params.output_option((params.TABLE, params.YAML, params.JSON))
@connected
@pass_session
def reserve(session: Session, cidrs: tuple[str, ...], name: str | None, unwanted: str | None, output: str) -> None:
    """Keep addresses from being given to pods by themselves; without arguments, show what is kept.

    A pod that asks for a reserved address by name still gets it, and who has one keeps it.

    \b
    Examples:
      bgpnetctl ipam reserve 10.244.0.0/29 10.244.7.9 --name routers
      bgpnetctl ipam reserve
      bgpnetctl ipam reserve --delete routers
    """
    if unwanted is not None and (cidrs or name):
        raise click.UsageError("--delete takes no CIDR and no --name: give back first, then reserve")
    if name is not None and not cidrs:
        raise click.UsageError("say what to reserve: bgpnetctl ipam reserve CIDR... --name NAME")
    from bgpnet_ctl import settings

    repo = session.repo(may_make=bool(cidrs))
    if unwanted is not None:
        click.echo(settings.unreserve(repo, unwanted))
    elif not cidrs:
        click.echo(settings.reserved(repo, output), nl=False)
    else:
        said, notes = settings.reserve(repo, cidrs, name)
        click.echo(said)
        for note in notes:
            click.echo(f"Note: {note}", err=True)


@ipam.command(short_help="Make several pools of one.")
@click.argument("number", type=int, metavar="N")
@click.option("--name", metavar="POOL", shell_complete=completing.pool, help="The pool, by name.")
@click.option("--cidr", metavar="CIDR", help="The pool, by CIDR.")
@connected
@pass_session
def split(session: Session, number: int, name: str | None, cidr: str | None) -> None:
    """Make N pools of one, N a power of two, under running pods: blocks and addresses stay as they are.

    The new pools are called split-POOL-0, split-POOL-1, ..., and are like the old one but for their CIDR. Nothing is
    locked. Who asks for the old pool by name must ask for a new one then. Ended half-way, by a kill or because the
    datastore went away, it is finished by the same command.

    \b
    Example:
      bgpnetctl ipam split 4 --name blue
    """
    if (name is None) == (cidr is None):
        raise click.UsageError("say which pool to split: either --name POOL or --cidr CIDR")
    from bgpnet.errors import NotFound
    from bgpnet_ctl import splitting

    repo = session.repo()
    try:
        pool = splitting.found(repo, name, cidr)
    except NotFound:
        made = splitting.finished(repo, name, cidr, number)
        if not made:
            raise
        click.echo(f"Pool {name or cidr} is split into {len(made)} already:")
    else:
        made = splitting.split(repo, pool, number)
        click.echo(f"Successfully split pool {pool.metadata.name} ({pool.spec.cidr}) into {len(made)}:")
    for one in made:
        click.echo(f"  {one.metadata.name} ({one.spec.cidr})")


ipam.add_command(ipam_check.check)
ipam.add_command(ipam_check.release)
