"""`bgpnetctl`: pools, peers and nodes, as calicoctl's users expect them.

Start-up is what people feel: this module and those it imports load click and nothing heavier. A command imports what
it works with (msgspec, YAML, the datastore) when it runs.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 a check found something wrong.
"""

from __future__ import annotations

import errno
import os
import sys

import click

from bgpnet.errors import BgpnetError, UsageError
from bgpnet_ctl.commands import about, bgp, get, ipam, node, validate, write
from bgpnet_ctl.commands.datastore import datastore as whole_datastore
from bgpnet_ctl.session import RUN_DIR, Misused, Refused, Session, given

_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Root(click.Group):
    """The group that turns what is for people to read into one sentence; a traceback is a bug of ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without calicoctl's flag for a client of another version than the cluster: scripts pass it everywhere."""
        return super().parse_args(ctx, [one for one in args if one != "--allow-version-mismatch"])

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
    callback=given,
    help="Where the resources are kept: sqlite:///PATH, etcd://HOST:PORT,HOST:PORT,… or kubernetes:",
)
@click.option(
    "-c",
    "--config",
    metavar="FILE",
    type=click.Path(),
    callback=given,
    help="A configuration file, as calicoctl's.  [default: /etc/bgpnet/bgpnetctl.cfg]",
)
@click.option("--context", metavar="NAME", callback=given, help="With kubernetes: the context of the kubeconfig.")
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
def cli(ctx: click.Context, datastore: str | None, config: str | None, context: str | None, run_dir: str) -> None:
    """Manage a bgpnet network: its IP pools, BGP peers and nodes.

    \b
    Examples:
      bgpnetctl get ippool -o wide
      bgpnetctl validate -f pools.yaml
      bgpnetctl apply -f pools.yaml
      bgpnetctl ipam show --show-blocks
      bgpnetctl ipam check
      bgpnetctl node status
      bgpnetctl bgp explain 10.244.0.0/26 --peer tor
      bgpnetctl datastore export -o backup.yaml
      bgpnetctl --datastore etcd://10.0.0.1:2379,10.0.0.2:2379 get nodes
      ETCD_ENDPOINTS=https://10.0.0.1:2379 ETCD_CA_CERT_FILE=ca.pem bgpnetctl get nodes
      KUBECONFIG=admin.conf bgpnetctl --datastore kubernetes: get nodes

    \b
    The datastore is the first that is said:
      1. --datastore URL
      2. -c FILE
      3. BGPNET_DATASTORE, a URL
      4. /etc/bgpnet/bgpnetctl.cfg, if it exists
      5. DATASTORE_TYPE (etcdv3, kubernetes, sqlite), ETCD_ENDPOINTS (or CALICO_DATASTORE_TYPE, CALICO_ETCD_ENDPOINTS)
      6. sqlite:///var/lib/bgpnet/store.db

    Where a file says it, everything else is taken from the file, too, and not from the environment. A URL takes
    certificates and user from the file that -c names, or else from ETCD_CA_CERT_FILE, ETCD_CERT_FILE, ETCD_KEY_FILE,
    ETCD_USERNAME and ETCD_PASSWORD. README.md shows such a file.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    ctx.obj = Session(datastore or "", run_dir, config or "", context or "")
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
    bgp.bgp,
    whole_datastore,
    about.version,
    about.completion,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        cli(prog_name="bgpnetctl")
    except OSError as error:
        if error.errno not in _NOT_WRITTEN or error.filename is not None:  # a traceback is a bug of ours
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)  # Python flushes what is left when it ends
        click.echo(f"standard output cannot be written: {error.strerror}; what was written is not whole", err=True)
        sys.exit(1)
