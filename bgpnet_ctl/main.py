"""`bgpnetctl`: pools, peers and nodes, as calicoctl's users expect them.

Start-up is what people feel: this module and those it imports load click and nothing heavier. A command imports what
it works with (msgspec, YAML, the datastore) when it runs.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 a check found something wrong.
"""

from __future__ import annotations

import os

import click

from bgpnet.errors import BgpnetError, UsageError
from bgpnet_ctl.commands import about, get, ipam, node, validate, write
from bgpnet_ctl.session import DATASTORE, RUN_DIR, Misused, Refused, Session


class Root(click.Group):
    """The group that turns what is for people to read into one sentence; a traceback is a bug of ours."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a refusal ends in a message and an exit code."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise Misused(str(error)) from error
        except BgpnetError as error:
            raise Refused(str(error)) from error


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--datastore",
    metavar="URL",
    envvar="BGPNET_DATASTORE",
    show_envvar=True,
    default=DATASTORE,
    show_default=True,
    help="Where the resources are kept.",
)
@click.option(
    "--run-dir",
    metavar="DIR",
    envvar="BGPNET_RUN_DIR",
    show_envvar=True,
    default=RUN_DIR,
    show_default=True,
    help="Where this machine's agent has its socket.",
)
@click.pass_context
def cli(ctx: click.Context, datastore: str, run_dir: str) -> None:
    """Manage a bgpnet network: its IP pools, BGP peers and nodes.

    \b
    Examples:
      bgpnetctl get ippool -o wide
      bgpnetctl validate -f pools.yaml
      bgpnetctl apply -f pools.yaml
      bgpnetctl ipam show --show-blocks
      bgpnetctl ipam check
      bgpnetctl node status
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    ctx.obj = Session(datastore, run_dir)
    ctx.call_on_close(ctx.obj.close)


for command in (
    get.get,
    write.create,
    write.apply,
    write.replace,
    write.delete,
    validate.validate,
    ipam.ipam,
    node.node,
    about.version,
    about.completion,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line and leave with its exit code."""
    cli(prog_name="bgpnetctl")
