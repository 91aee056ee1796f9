"""`bgpnetctl version` and `bgpnetctl completion`."""

from __future__ import annotations

import click

from bgpnet.errors import BgpnetError
from bgpnet_ctl.session import Session, connected, pass_session

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Show the versions.")
@connected
@pass_session
def version(session: Session) -> None:
    """Show this program's version, and that of this machine's agent where it answers.

    \b
    Example:
      bgpnetctl version
    """
    from bgpnet.version import VERSION

    click.echo(f"Client Version:    {VERSION}")
    try:
        agent = str(session.agent().ask("status").get("version", "unknown"))
    except BgpnetError as error:
        agent = f"unknown ({error})"
    click.echo(f"Agent Version:     {agent}")


@click.command(short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a shell's completion script: commands, kinds, formats, and the names that the datastore has.

    \b
    Examples:
      eval "$(bgpnetctl completion bash)"
      bgpnetctl completion zsh > ~/.zfunc/_bgpnetctl
      bgpnetctl completion fish | source
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"unknown shell '{shell}': known are {', '.join(SHELLS)}")
    click.echo(found(ctx.find_root().command, {}, "bgpnetctl", "_BGPNETCTL_COMPLETE").source())
