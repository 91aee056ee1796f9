"""IPAMConfiguration and IPReservations as `ipam configure` and `ipam reserve` change and show them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import structs

from bgpnet import names
from bgpnet.errors import AlreadyExists, Conflict, Finding, NotFound, UsageError
from bgpnet.ipamcheck.picture import called
from bgpnet.ipamcheck.recorded import BLOCKS_PER_HOST
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ipamconfiguration import IPAMConfiguration, IPAMConfigurationSpec
from bgpnet.model.ipreservation import IPReservation, IPReservationSpec
from bgpnet.model.resource import Metadata
from bgpnet.rules import common
from bgpnet.store.repo import Repo
from bgpnet_ctl import params, text
from bgpnet_ctl.render import tree

PROPERTIES = {
    "StrictAffinity": "strictAffinity",
    "AutoAllocateBlocks": "autoAllocateBlocks",
    "MaxBlocksPerHost": "maxBlocksPerHost",
    "IPCooldownSeconds": "ipCooldownSeconds",
}
"""calicoctl's names of the settings, and their fields."""
BUILT_IN = {
    "maxBlocksPerHost": f"0 (built in: {BLOCKS_PER_HOST})",
    "ipCooldownSeconds": "unset (each agent's address_rest, 30 unless told)",
}
"""What holds where nothing is set."""


def configuration(repo: Repo) -> IPAMConfiguration:
    """What is stored, or the built-in settings; blocks are exclusive in either case."""
    stored = repo.find(kinds.IPAMCONFIGURATION, "default")
    if isinstance(stored, IPAMConfiguration):
        return stored
    return IPAMConfiguration(metadata=Metadata(name="default"), spec=IPAMConfigurationSpec(strictAffinity=True))


def shown(repo: Repo, output: str) -> str:
    """PROPERTY and VALUE, as calicoctl's `--show-configuration`; blocks are exclusive whatever is stored."""
    spec = structs.replace(configuration(repo).spec, strictAffinity=True)
    if output in (params.YAML, params.JSON):
        return tree({field: getattr(spec, field) for field in PROPERTIES.values()}, output)
    rows = [(name, _value(field, getattr(spec, field))) for name, field in PROPERTIES.items()]
    return text.boxed(("PROPERTY", "VALUE"), rows)


def _value(field: str, value: object) -> str:
    unset = value is None or (field == "maxBlocksPerHost" and value == 0)
    return BUILT_IN[field] if unset else str(value).lower()


def configure(repo: Repo, changes: dict[str, object]) -> list[str]:
    """Change these fields, and say so in calicoctl's words; raises Invalid for a value that is out of range."""
    wanted = {"strictAffinity": True} | changes

    def change() -> IPAMConfiguration:
        before = configuration(repo)
        return structs.replace(before, spec=structs.replace(before.spec, **wanted))

    _written(repo, change)
    return [
        f"Successfully set {name} to: {str(changes[field]).lower()}"
        for name, field in PROPERTIES.items()
        if field in changes
    ]


def _written(repo: Repo, change: Callable[[], IPAMConfiguration | IPReservation]) -> None:
    """Create, or write at the revision that was read; begins again where somebody else was faster. Raises Invalid."""
    for last in (False, False, False, True):
        wanted = change()
        try:
            if wanted.metadata.resourceVersion:
                repo.update(wanted)
            else:
                repo.create(wanted)
            return
        except (AlreadyExists, Conflict, NotFound):
            if last:
                raise


def reserve(repo: Repo, cidrs: Sequence[str], name: str | None) -> tuple[str, list[str]]:
    """Keep these from new pods: a sentence, and a note for each address that somebody has. Raises UsageError, Invalid.

    An IPReservation of that name keeps what it has, and these beside it.
    """
    nets = [_network(cidr) for cidr in cidrs]
    meta = Metadata(name=name or f"reserved-{names.block(nets[0]).strip('-')}")

    def change() -> IPReservation:
        stored = repo.find(kinds.IPRESERVATION, meta.name)
        before = stored if isinstance(stored, IPReservation) else IPReservation(metadata=meta)
        kept = tuple(dict.fromkeys([*before.spec.reservedCIDRs, *map(str, nets)]))
        return structs.replace(before, spec=IPReservationSpec(reservedCIDRs=kept))

    _written(repo, change)
    said = f"Successfully reserved {', '.join(map(str, nets))} in IPReservation({meta.name})"
    return said, list(_held(repo, nets))


def _network(text: str) -> ip.Network:
    net = common.network("CIDR", text, bare=True)
    if isinstance(net, Finding):
        raise UsageError(str(net))
    return net


def _held(repo: Repo, nets: Sequence[ip.Network]) -> list[str]:
    found = []
    for block in repo.list(kinds.IPAMBLOCK)[0]:
        if not isinstance(block, IPAMBlock):
            continue
        for ordinal, one in sorted(block.spec.allocations.items()):
            address = block.network[ordinal]
            if one.freedAt is None and any(ip.contains(net, address) for net in nets):
                owner = block.spec.owner.name if block.spec.owner else "(none)"
                who = called(one.pod, one.container, one.ifname)
                found.append(f"{address} is in use by {who} of node {owner}, which keeps it until it goes")
    return found


def unreserve(repo: Repo, name: str) -> str:
    """Give back what the reservation keeps; raises NotFound."""
    repo.delete(kinds.IPRESERVATION, name)
    return f"Successfully deleted IPReservation({name}): its addresses are given to pods again"


def reserved(repo: Repo, output: str) -> str:
    """All reservations."""
    found = [each for each in repo.list(kinds.IPRESERVATION)[0] if isinstance(each, IPReservation)]
    if output in (params.YAML, params.JSON):
        return tree([{"name": one.metadata.name, "cidrs": list(one.spec.reservedCIDRs)} for one in found], output)
    rows = [(one.metadata.name, cidr) for one in found for cidr in one.spec.reservedCIDRs]
    return text.boxed(("NAME", "CIDR"), rows)
