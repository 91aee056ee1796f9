"""What pods and namespaces ask of address management by annotation, and who beats whom. Pure.

Source: Calico's annotations (cni-plugin/pkg/k8s/k8s.go): `ipv4pools` of the pod over its namespace's over the network
configuration's; `ipAddrs` and `hwAddr` of the pod over what the runtime asks for; `ipFamilies` of the pod over its
namespace's, where no address is asked for by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bgpnet.errors import NoAddress
from bgpnet.model import ip
from bgpnet.model.ip import Address
from bgpnet.names import HOST_MAC

POOLS = "cni.projectcalico.org/ipv4pools"
ADDRESSES = "cni.projectcalico.org/ipAddrs"
MAC = "cni.projectcalico.org/hwAddr"
FAMILIES = "cni.projectcalico.org/ipFamilies"
KEEP = "bgpnet.io/keepAddress"
"""Whether a pod's address is kept for its next sandbox; ours alone (Calico does it for KubeVirt's machines only)."""
KNOWN_PREFIXES = ("cni.projectcalico.org/", "bgpnet.io/")
"""What of a pod's annotations may be meant for us."""
UNHEEDED = {
    "cni.projectcalico.org/ipAddrsNoIpam": f"bgpnet gives addresses of its pools only, by {ADDRESSES}",
    "cni.projectcalico.org/floatingIPs": "bgpnet leads no further address to a pod",
}
"""What Calico would heed and bgpnet does not, and why; a pod that asks for it is refused rather than given another."""
KEPT = 3600
"""Seconds that an address is kept where nobody says how long."""
LONGEST = 30 * 86400
"""Seconds that an address may be kept."""
CONFIGURED = "ipv4_pools of the network configuration"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_HEX = "[0-9a-f]"
_MAC = re.compile(f"{_HEX}{{2}}(:{_HEX}{{2}}){{5}}|{_HEX}{{2}}(-{_HEX}{{2}}){{5}}|{_HEX}{{4}}([.]{_HEX}{{4}}){{2}}")
"""The forms that Go's net.ParseMAC reads, as Calico does, in small letters."""
_LENGTH = re.compile("[12]?[0-9]|3[0-2]")
"""A prefix length of IPv4."""
_DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)

SHOWN = 200
"""How many characters of a value a refusal shows."""


@dataclass(frozen=True, slots=True)
class Meta:
    """What an orchestrator says of a pod or a namespace."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for, and by what (for the sentence of a refusal). Nothing at all: any address will do.

    pools: names or CIDRs. address: that very one, from whichever pool has it. keep: seconds for which the address,
    once released, is kept for a pod of the same name. mac: of the pod's end.
    """

    pools: tuple[str, ...] = ()
    pools_by: str = ""
    address: Address | None = None
    address_by: str = ""
    keep: int = 0
    mac: str = ""


def wish(asked: Wish, pod: str, of_pod: Meta | None, of_namespace: Meta | None, kept: int = KEPT) -> Wish:
    """What a pod (`namespace/name`) gets to ask for; `asked` is what the runtime's call says. Raises NoAddress.

    kept: seconds that an address is kept for, where an annotation only says that it is.
    """
    pools, pools_by = asked.pools, asked.pools_by
    address, address_by = asked.address, asked.address_by
    for name, why in UNHEEDED.items():
        if of_pod is not None and _asks(of_pod, name):
            raise NoAddress(f"annotation {name} of pod {pod} = {_shown(of_pod.annotations[name])}: {why}; remove it")
    holders = ((f"pod {pod}", of_pod), (f"namespace {pod.partition('/')[0]}", of_namespace))
    for holder, meta in holders:
        if meta is not None and meta.annotations.get(POOLS):  # an empty one is none, as with Calico
            pools_by = f"annotation {POOLS} of {holder}"
            named = _asks(meta, POOLS)  # an empty list names any, whatever the namespace or the configuration says
            pools = _strings(pools_by, meta.annotations[POOLS], '["blue"]', "names or CIDRs of pools") if named else ()
            break
    if of_pod is not None and of_pod.annotations.get(ADDRESSES):
        address_by = f"annotation {ADDRESSES} of pod {pod}"
        address = one_address(
            address_by, _strings(address_by, of_pod.annotations[ADDRESSES], '["10.0.0.5"]', "addresses")
        )
    for holder, meta in holders:
        if address is None and meta is not None and _asks(meta, FAMILIES):
            _four(f"annotation {FAMILIES} of {holder}", meta.annotations[FAMILIES])
            break
    mac = asked.mac
    if of_pod is not None and of_pod.annotations.get(MAC):
        mac = one_mac(f"annotation {MAC} of pod {pod}", of_pod.annotations[MAC])
    said = next((one for one in holders if one[1] is not None and KEEP in one[1].annotations), None)
    keep = _keep(f"annotation {KEEP} of {said[0]}", said[1].annotations[KEEP], kept) if said and said[1] else 0
    return Wish(pools, pools_by if pools else "", address, address_by if address else "", keep, mac)


def _asks(meta: Meta, name: str) -> bool:
    """Whether an annotation that holds a list asks for anything."""
    return "".join(meta.annotations.get(name, "").split()) not in ("", "[]", "null")


def _four(source: str, text: str) -> None:
    """Refuse IP families without IPv4, and what is no family, as Calico does."""
    families = _strings(source, text, '["IPv4"]', "IP families")
    if "IPv4" not in families or not {"IPv4", "IPv6"}.issuperset(families):
        raise NoAddress(f'{source} = {_shown(text)}: pods have IPv4 only; write ["IPv4"], or remove it')


def _keep(source: str, text: str, kept: int) -> int:
    """Seconds: `true`, `false`, or a duration such as 90s, 30m, 12h, 7d."""
    if text in ("true", "false"):
        return kept if text == "true" else 0
    found = _DURATION.fullmatch(text)
    number = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < number <= LONGEST:
        raise NoAddress(f'{source} = {_shown(text)}: write "true", "false", or how long, such as "30m", at most "30d"')
    return number


def one_address(source: str, texts: Sequence[str], *, length: bool = False) -> Address:
    """The one IPv4 address that `source` asks for, which must name one; raises NoAddress.

    length: a prefix length may follow, as the CNI conventions have it; a pod's address has all its bits anyway.
    """
    shown = ", ".join(texts)
    found = {text: _address(text.partition("/")[0] if length else text) for text in texts}
    texts = list(found)  # named twice is named once
    if bad := [text for text, address in found.items() if address is None]:
        raise NoAddress(f"{source} = {_shown(bad[0])} is not an IP address: write one like 10.0.0.5")
    if six := [text for text, address in found.items() if address is not None and address.version == 6]:
        raise NoAddress(f"{source} = {_shown(six[0])} is an IPv6 address, and pods have IPv4 only: leave it out")
    lengths = {text: text.partition("/")[2] for text in texts if "/" in text}
    if wrong := [text for text, bits in lengths.items() if not _LENGTH.fullmatch(bits)]:
        raise NoAddress(f"{source} = {_shown(wrong[0])}: a prefix length is 0 to 32; write /32, or the address alone")
    if len(texts) > 1:
        raise NoAddress(
            f"{source} = {_shown(shown)} names {len(texts)} addresses, and a pod's interface has one: name one"
        )
    if not (address := found[texts[0]] if texts else None):
        raise NoAddress(f"{source} names no address: name one, or leave it out")
    return address


def one_mac(source: str, text: str) -> str:
    """The MAC that `source` asks for, as the kernel writes it; raises NoAddress.

    The kernel takes no group's and no zeros (include/linux/etherdevice.h, is_valid_ether_addr); one is the node's own.
    """
    written = text.lower()
    mac = bytes.fromhex(re.sub("[:.-]", "", written)).hex(":") if _MAC.fullmatch(written) else ""
    if not mac or int(mac[:2], 16) & 1 or mac in ("00:00:00:00:00:00", HOST_MAC):
        raise NoAddress(
            f"{source} = {_shown(text)} is no MAC that a pod's interface can have: write one like 0a:58:0a:00:00:05"
        )
    return mac


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


def _address(text: str) -> Address | None:
    try:
        return None if "%" in text else ip.address(text)
    except ValueError:
        return None


def _strings(source: str, text: str, example: str, what: str) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise NoAddress(f"{source} = {_shown(text)} is not JSON: write a list of {what} such as {example}") from None
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise NoAddress(f"{source} = {_shown(text)} is not a list of {what}: write one such as {example}, or remove it")
    return tuple(found)
