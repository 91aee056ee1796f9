"""`bgpnet init`: what a cluster has from its installation on."""

from __future__ import annotations

import os

import click

NAME = "default-ipv4-ippool"
ENCAPSULATIONS = ("Always", "CrossSubnet", "Never")
WORDS = {one.lower(): one for one in ENCAPSULATIONS} | {"off": "Never", "cross-subnet": "CrossSubnet"}
"""What Calico's node takes for them, in any case (its pkg/lifecycle/startup)."""


class _Mode(click.Choice[str]):
    """An encapsulation in the API's words, or Calico's."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Raises click.BadParameter."""
        return super().convert(WORDS.get(value.lower(), value), param, ctx)


def _variable(name: str) -> list[str]:
    """Ours, and the one that Calico's manifests have for it."""
    return [f"BGPNET_IPV4POOL_{name}", f"CALICO_IPV4POOL_{name}"]


@click.command("init", context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--datastore", envvar="BGPNET_DATASTORE", metavar="URL", help="sqlite:///PATH, etcd://… or kubernetes:")
@click.option(
    "--pool-cidr", envvar=_variable("CIDR"), default="10.244.0.0/16", metavar="CIDR", help="The first pool; none: none."
)
@click.option("--pool-ipip", envvar=_variable("IPIP"), default="Always", type=_Mode(ENCAPSULATIONS))
@click.option("--pool-vxlan", envvar=_variable("VXLAN"), default="Never", type=_Mode(ENCAPSULATIONS))
@click.option("--pool-block-size", envvar=_variable("BLOCK_SIZE"), default=26, type=click.IntRange(20, 32))
@click.option("--pool-nat-outgoing/--no-pool-nat-outgoing", envvar=_variable("NAT_OUTGOING"), default=True)
@click.option("--pool-node-selector", envvar=_variable("NODE_SELECTOR"), default="all()", metavar="SELECTOR")
def command(
    datastore: str | None,
    pool_cidr: str,
    pool_ipip: str,
    pool_vxlan: str,
    pool_block_size: int,
    pool_nat_outgoing: bool,
    pool_node_selector: str,
) -> None:
    """Create the cluster's first pool, default-ipv4-ippool, where there is none and never was one.

    Run it with every installation and upgrade: what people changed or deleted since stays so. Each option can be said
    by a variable, such as BGPNET_IPV4POOL_CIDR for --pool-cidr, or Calico's CALICO_IPV4POOL_CIDR.

    \b
    Examples:
      bgpnet init --pool-cidr 10.1.0.0/16 --pool-ipip CrossSubnet
      BGPNET_DATASTORE=etcd://10.0.0.1:2379 BGPNET_IPV4POOL_CIDR=none bgpnet init
    """
    from bgpnet.model.ippool import Encap, IPPool, IPPoolSpec
    from bgpnet.model.resource import Metadata
    from bgpnet.setup import firstpool
    from bgpnet.store import choice
    from bgpnet.store.factory import open_store
    from bgpnet.store.repo import Repo

    pool = IPPool(
        metadata=Metadata(name=NAME),
        spec=IPPoolSpec(
            cidr=pool_cidr,
            ipipMode=Encap(pool_ipip),
            vxlanMode=Encap(pool_vxlan),
            blockSize=pool_block_size,
            natOutgoing=pool_nat_outgoing,
            nodeSelector=pool_node_selector,
        ),
    )
    chosen = choice.Choice(datastore) if datastore else choice.of_environment(os.environ)
    store = chosen.open() if chosen else open_store(choice.DEFAULT)
    try:
        click.echo(firstpool.ensure(Repo(store), None if pool_cidr == "none" else pool))
    finally:
        store.close()
