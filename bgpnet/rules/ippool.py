"""What an IPPool must obey by itself, and what of it is stored but not acted on yet."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from bgpnet.errors import Finding
from bgpnet.model import ip
from bgpnet.model.ippool import AllowedUse, Encap, IPPool, IPPoolSpec
from bgpnet.rules import common

BLOCK_SIZES = {4: (20, 32), 6: (116, 128)}
DEFAULT_BLOCK_SIZE = {4: 26, 6: 122}
LINK_LOCAL = (ip.network("169.254.0.0/16"), ip.network("fe80::/10"))


def check(pool: IPPool) -> Iterator[Finding]:
    """Every rule of IPPool that needs no datastore."""
    spec = pool.spec
    yield from common.findings(common.network("spec.cidr", spec.cidr))
    net = common.masked(spec.cidr)
    if net is not None:
        yield from _range(spec, net)
    if spec.ipipMode != Encap.NEVER and spec.vxlanMode != Encap.NEVER:
        yield Finding("spec.vxlanMode", str(spec.vxlanMode), "cannot go with ipipMode; set one of the two to Never")
    yield from common.node_selector("spec.nodeSelector", spec.nodeSelector)
    yield from common.label_selector("spec.namespaceSelector", spec.namespaceSelector)
    yield from _uses(spec)


def _range(spec: IPPoolSpec, net: ip.Network) -> Iterator[Finding]:
    for local in LINK_LOCAL:
        if ip.contains(net, local) or ip.contains(local, net):
            yield Finding("spec.cidr", spec.cidr, f"overlaps with the link-local {local}; choose another range")
    low, high = BLOCK_SIZES[net.version]
    size = DEFAULT_BLOCK_SIZE[net.version] if spec.blockSize is None else spec.blockSize
    if not low <= size <= high:
        yield Finding("spec.blockSize", size, f"must be {low} to {high} for an IPv{net.version} pool")
    elif net.prefixlen > size and not spec.disabled:
        yield Finding("spec.cidr", spec.cidr, _too_small(net, size, high))
    if net.version == 6 and spec.ipipMode != Encap.NEVER:
        yield Finding("spec.ipipMode", str(spec.ipipMode), "cannot be used with an IPv6 cidr; write Never")


def _too_small(net: ip.Network, size: int, high: int) -> str:
    sizes = str(high) if net.prefixlen == high else f"{net.prefixlen} to {high}"
    return f"is smaller than one block (blockSize {size}); write a cidr of /{size} or larger, or a blockSize of {sizes}"


def _uses(spec: IPPoolSpec) -> Iterator[Finding]:
    uses = spec.allowedUses
    shown = [str(use) for use in uses]
    if len(set(uses)) != len(uses):
        yield Finding("spec.allowedUses", shown, "names one use twice; name each once")
    if AllowedUse.TUNNEL in uses and spec.namespaceSelector:
        yield Finding(
            "spec.namespaceSelector",
            spec.namespaceSelector,
            "cannot go with the use Tunnel, which has no namespace; take Tunnel out of spec.allowedUses",
        )
    if AllowedUse.LOAD_BALANCER not in uses:
        return
    if len(set(uses)) > 1:
        yield Finding("spec.allowedUses", shown, "LoadBalancer must stand alone; make a second pool for the other uses")
    for name in ("ipipMode", "vxlanMode"):
        mode: Encap = getattr(spec, name)
        if mode != Encap.NEVER:
            yield Finding(f"spec.{name}", str(mode), "a LoadBalancer pool is not encapsulated; write Never")
    if spec.nodeSelector not in ("", "all()"):
        yield Finding("spec.nodeSelector", spec.nodeSelector, "a LoadBalancer pool serves all nodes; write all()")
    if spec.disableBGPExport:
        yield Finding("spec.disableBGPExport", True, "a LoadBalancer pool must be exported; write false")


def not_built(pool: IPPool) -> Iterator[tuple[str, object, str]]:
    """(path, value, what happens instead) of each value that is kept but not acted on."""
    spec = pool.spec
    if pool.network.version == 6:
        yield "spec.cidr", spec.cidr, "no address is taken from an IPv6 pool, because pods have IPv4 only"
    if spec.namespaceSelector:
        unasked = "agents that are told of no Kubernetes give addresses of the pool only to pods that ask for it"
        yield "spec.namespaceSelector", spec.namespaceSelector, unasked
    if AllowedUse.LOAD_BALANCER in spec.allowedUses:
        yield "spec.allowedUses", spec.allowedUses, "no service takes an address from the pool"


def normalise(pool: IPPool) -> IPPool:
    """Defaults written out and the CIDR in its usual spelling, as v3 stores it; what is wrong stays for `check`."""
    spec = pool.spec
    net = common.network("spec.cidr", spec.cidr)
    if not isinstance(net, Finding):
        size = DEFAULT_BLOCK_SIZE[net.version] if spec.blockSize is None else spec.blockSize
        spec = structs.replace(spec, cidr=str(net), blockSize=size)
    if not spec.nodeSelector:
        spec = structs.replace(spec, nodeSelector="all()")
    if not spec.allowedUses:
        spec = structs.replace(spec, allowedUses=(AllowedUse.WORKLOAD, AllowedUse.TUNNEL))
    return structs.replace(pool, spec=spec)
