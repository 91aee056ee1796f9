"""The CNI specification as values: what a runtime asks (environment and configuration), what it is told.

Reference: CNI specification 1.1.0 and its predecessors 0.3.1, 0.4.0 and 1.0.0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from bgpnet import names, unheeded
from bgpnet.annotations import KNOWN_PREFIXES, one_address, one_mac
from bgpnet.conflist import ANNOTATIONS
from bgpnet.errors import CniError, NoAddress
from bgpnet.model.ip import Address
from bgpnet.wire import CniCall

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
USUAL = "1.0.0"
"""The version of errors whose caller told none that is known."""
COMMANDS = ("ADD", "DEL", "CHECK", "GC", "STATUS")

INCOMPATIBLE, UNKNOWN, BAD_ENVIRONMENT, UNDECODABLE, BAD_CONFIG, TRY_AGAIN = 1, 3, 4, 6, 7, 11
UNAVAILABLE, UNAVAILABLE_AND_LIMITED = 50, 51
INTERNAL, NO_ADDRESS, WIRING_REFUSED, NOT_AS_ADDED = 100, 101, 102, 103

_IFNAME = re.compile(r"[^/:\s]+\Z")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")
_MTU = range(68, 65536)
_UID = re.compile(r"[A-Za-z0-9\-]{1,64}\Z")
_LONGEST_ID = 128
_LONGEST_NAME = 253
"""Characters of a Kubernetes object's name (RFC 1123 subdomain)."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What CNI keys by: a container and the interface in it."""

    container: str
    ifname: str


@dataclass(frozen=True, slots=True)
class Interface:
    """One of those that a result lists; mac (in small letters) and sandbox are empty where it does not tell them."""

    name: str
    mac: str = ""
    sandbox: str = ""


@dataclass(frozen=True, slots=True)
class CniRequest:
    """A checked request. `pod` is `namespace/name` or empty; mtu 0: the node's.

    pools: names or CIDRs. address: that very one is asked for, by what `address_by` says. previous: of a CHECK, the
    addresses that the ADD was answered with, and `interfaces` likewise. valid: of a GC, the attachments that live; None
    where that is not said. annotations: of the pod, as far as they may be meant for us; None where the runtime does not
    pass them on. keep: seconds, see annotations.Wish; known once the wish is. uid: of the pod, where the runtime says
    it. mac: for the pod's end, by what `mac_by` says; else it is made from the address.
    GC and STATUS are about no container: their attachment is empty.
    """

    command: str
    attachment: Attachment
    netns: str
    pod: str
    network: str
    version: str
    pools: tuple[str, ...] = ()
    mtu: int = 0
    address: Address | None = None
    address_by: str = ""
    previous: tuple[str, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    valid: frozenset[Attachment] | None = None
    annotations: tuple[tuple[str, str], ...] | None = None
    keep: int = 0
    uid: str = ""
    mac: str = ""
    mac_by: str = ""


@dataclass(frozen=True, slots=True)
class Wired:
    """What a result tells: the link, the pod's end, and its address."""

    link: str
    ifname: str
    netns: str
    mac: str
    mtu: int
    address: Address


def parse(call: CniCall) -> CniRequest:
    """A request from the plugin's environment and input; raises CniError with the specification's code."""
    config = _config(call.stdin)
    env = _readable(call.env)
    version = _given(config, "cniVersion", "0.2.0")
    if version not in VERSIONS:
        raise CniError(
            INCOMPATIBLE, f"cniVersion {_shown(version)} is not supported; write one of {', '.join(VERSIONS)}"
        )
    command = _variable(env, "CNI_COMMAND")
    if command not in COMMANDS:
        raise CniError(BAD_ENVIRONMENT, f"CNI_COMMAND={command} is unknown; use one of {', '.join(COMMANDS)}")
    if command in ("GC", "STATUS"):
        nobody = Attachment("", "")
        valid = _valid(config) if command == "GC" else None
        asked = CniRequest(command, nobody, "", "", _network(config), str(version), valid=valid)
        if command == "GC":
            return asked
        _heed(config)  # a STATUS is told whether an ADD with this configuration could be served
        return replace(asked, pools=_pools(config))
    container = _variable(env, "CNI_CONTAINERID")
    # A DEL has to end well, though of what no ADD would have taken.
    if not _CONTAINER.match(container) or (len(container) > _LONGEST_ID and command != "DEL"):
        allowed = f"at most {_LONGEST_ID} letters, digits, '_', '.', '-', a letter or digit first"
        raise CniError(BAD_ENVIRONMENT, f"CNI_CONTAINERID={container!r}: {allowed}")
    netns = env.get("CNI_NETNS", "")
    if command != "DEL" and not netns:
        raise CniError(BAD_ENVIRONMENT, "CNI_NETNS is missing; give the path of the pod's network namespace")
    if command == "ADD" and config.get("prevResult") is not None:
        first = "bgpnet makes the pod's interface and must be the first plugin of the conflist"
        raise CniError(BAD_CONFIG, f"prevResult is set, as if another plugin had been there before: {first}")
    if command == "ADD":
        _heed(config)
    args = _args(env.get("CNI_ARGS", ""), strict=command != "DEL")
    adds = command == "ADD"  # what only an ADD needs is nobody else's business: a DEL has to end well
    runtime, cni = _asking(config) if adds else ({}, {})
    source, address = _address(args, runtime, cni) if adds else ("", None)
    mac_by, mac = _mac(args, runtime, cni) if adds else ("", "")
    return CniRequest(
        command=command,
        attachment=Attachment(container, _ifname(_variable(env, "CNI_IFNAME"), strict=adds)),
        netns=netns,
        pod=_pod(args, strict=adds),
        network=_network(config),
        version=version,
        pools=_pools(config) if adds else (),
        mtu=_mtu(config) if adds else 0,
        address=address,
        address_by=source,
        previous=_previous(config) if command == "CHECK" else (),
        interfaces=_interfaces(config) if command == "CHECK" else (),
        annotations=_annotations(runtime) if adds else None,
        uid=_uid(args) if adds else "",
        mac=mac,
        mac_by=mac_by,
    )


def version_of(stdin: bytes) -> str:
    """The cniVersion an error is to be written in: the caller's where it can be read, else the usual one."""
    try:
        version = _config(stdin).get("cniVersion")
    except CniError:
        return USUAL
    return version if isinstance(version, str) and version in VERSIONS else USUAL


def result(version: str, wired: Wired) -> bytes:
    """The result of an ADD in the caller's version."""
    address: dict[str, object] = {"interface": 1, "address": f"{wired.address}/{wired.address.max_prefixlen}"}
    if version in ("0.3.1", "0.4.0"):
        address = {"version": str(wired.address.version), **address}
    mtu = {"mtu": wired.mtu} if version == "1.1.0" else {}
    document = {
        "cniVersion": version,
        "interfaces": [
            {"name": wired.link, "mac": names.HOST_MAC, **mtu},
            {"name": wired.ifname, "mac": wired.mac, **mtu, "sandbox": wired.netns},
        ],
        "ips": [address],
        "routes": [],
        "dns": {},
    }
    return msgspec.json.encode(document)


def error(version: str, problem: CniError) -> bytes:
    """The specification's error object."""
    document: dict[str, object] = {"cniVersion": version, "code": problem.code, "msg": problem.message}
    if problem.details:
        document["details"] = problem.details
    return json.dumps(document).encode()


def _previous(config: Mapping[str, object]) -> tuple[str, ...]:
    """The addresses of prevResult, with their prefix lengths."""
    previous = config.get("prevResult")
    ips = previous.get("ips") if isinstance(previous, dict) else None
    if not isinstance(ips, list) or not all(isinstance(one, dict) for one in ips):
        problem = "is missing or has no list of ips; the container runtime has to pass the result of ADD"
        raise CniError(BAD_CONFIG, f"prevResult {problem}")
    addresses = [_given(one, "address", "") for one in ips]
    return tuple(one if isinstance(one, str) else _shown(one) for one in addresses)


def _interfaces(config: Mapping[str, object]) -> tuple[Interface, ...]:
    """The interfaces of prevResult, which need not list them."""
    listed = _member(config, "prevResult").get("interfaces")
    if listed is None:
        return ()
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        problem = f"prevResult.interfaces = {_shown(listed)} is no list of objects"
        raise CniError(BAD_CONFIG, f"{problem}; the container runtime has to pass the result of ADD")
    found = [[str(one.get(key) or "") for key in ("name", "mac", "sandbox")] for one in listed]
    return tuple(Interface(name, mac.lower(), sandbox) for name, mac, sandbox in found)


def _valid(config: Mapping[str, object]) -> frozenset[Attachment] | None:
    """`cni.dev/valid-attachments`, which libcni also passes under its older name.

    Whoever is not in it is deleted: nothing but a whole list counts as one, least of all something that is empty.
    """
    listed = _given(config, "cni.dev/valid-attachments", config.get("cni.dev/attachments"))
    if listed is None:
        return None
    found = [_attachment(one) for one in listed] if isinstance(listed, list) else [None]
    valid = frozenset(one for one in found if one is not None)
    if None in found:
        shape = 'the container runtime has to pass a list of {"containerID": …, "ifname": …}'
        raise CniError(BAD_CONFIG, f"cni.dev/valid-attachments = {_shown(listed)}: {shape}")
    return valid


def _attachment(listed: object) -> Attachment | None:
    """One of the attachments that live; None where it is not told as the specification wants it."""
    if not isinstance(listed, dict):
        return None
    container, ifname = listed.get("containerID"), listed.get("ifname")
    return Attachment(container, ifname) if isinstance(container, str) and isinstance(ifname, str) else None


def _config(stdin: bytes) -> dict[str, object]:
    try:
        config = _decoded(stdin)
    except (ValueError, RecursionError) as problem:
        raise CniError(UNDECODABLE, f"the network configuration is not JSON: {problem}; correct the conflist") from None
    if not isinstance(config, dict):
        raise CniError(UNDECODABLE, "the network configuration is not a JSON object; correct the conflist")
    return config


def _decoded(stdin: bytes) -> object:
    """JSON, quickly where it is strict, and else as Python reads it; raises ValueError or RecursionError."""
    try:
        return msgspec.json.decode(stdin)
    except msgspec.DecodeError:
        return json.loads(stdin)


def _readable(env: Mapping[str, str]) -> Mapping[str, str]:
    """The variables; bytes that are not UTF-8 (they came as surrogates) can be in no journal and in no answer.

    A DEL, which has to end well, goes without those that it does not need.
    """
    found = {}
    for name, value in env.items():
        try:
            f"{name}{value}".encode()
        except UnicodeEncodeError:
            if env.get("CNI_COMMAND") == "DEL" and name not in ("CNI_CONTAINERID", "CNI_IFNAME"):
                continue
            raise CniError(
                BAD_ENVIRONMENT, f"{name!a} = {value!a} is not UTF-8; the container runtime has to set text"
            ) from None
        found[name] = value
    return found


def _variable(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value:
        raise CniError(BAD_ENVIRONMENT, f"{name} is missing; the container runtime has to set it")
    return value


def _ifname(name: str, *, strict: bool) -> str:
    """As the kernel takes it; an ADD's without what a terminal obeys, for with Multus a pod's author chooses it."""
    bad = len(name.encode()) > 15 or name in (".", "..") or not _IFNAME.match(name)
    if bad:
        raise CniError(
            BAD_ENVIRONMENT, f"CNI_IFNAME={name!r}: at most 15 bytes without '/', ':' or blanks, not '.' or '..'"
        )
    if strict and not name.isprintable():
        raise CniError(BAD_ENVIRONMENT, f"CNI_IFNAME={name!a}: use no control characters")
    return name


def _args(text: str, *, strict: bool) -> dict[str, str]:
    """`IgnoreUnknown=1;K8S_POD_NAMESPACE=a` as a mapping; what is no pair is left aside where that is not strict."""
    found: dict[str, str] = {}
    for pair in filter(None, text.split(";")):
        key, equals, value = pair.partition("=")
        if not equals and strict:
            raise CniError(BAD_ENVIRONMENT, f"CNI_ARGS has {pair!r}; write KEY=VALUE pairs joined by ';'")
        found[key] = value
    return found


def _pod(args: Mapping[str, str], *, strict: bool) -> str:
    """The pod's name; an ADD's must be fit for a block (many long ones are more than etcd takes) and for a table."""
    namespace, name = args.get("K8S_POD_NAMESPACE", ""), args.get("K8S_POD_NAME", "")
    for key, value in (("K8S_POD_NAMESPACE", namespace), ("K8S_POD_NAME", name)):
        if strict and len(value) > _LONGEST_NAME:
            shown = f"{value[:20]!r}… of {len(value)} characters"
            raise CniError(BAD_ENVIRONMENT, f"CNI_ARGS {key} = {shown}: use at most {_LONGEST_NAME}")
        if strict and not value.isprintable():
            raise CniError(BAD_ENVIRONMENT, f"CNI_ARGS {key} = {value!a}: use no control characters")
    return f"{namespace}/{name}" if namespace and name else ""


def _asking(config: Mapping[str, object]) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Where a runtime asks for what this pod is to have: `runtimeConfig`, and `args.cni` (CONVENTIONS.md)."""
    args = _member(config, "args")
    return _member(config, "runtimeConfig"), _member(args, "cni", "args.cni") if args else args


def _address(
    args: Mapping[str, str], runtime: Mapping[str, object], cni: Mapping[str, object]
) -> tuple[str, Address | None]:
    """The one address that the runtime asks for, and where: CNI_ARGS `IP`, or the capability `ips` (CONVENTIONS.md)."""
    asked: dict[str, Address] = {}
    if args.get("IP"):  # an empty one is none, as with Go's net.IP
        asked["CNI_ARGS IP"] = _one("CNI_ARGS IP", args["IP"].split(","), BAD_ENVIRONMENT)
    for source, values in (("runtimeConfig.ips", runtime.get("ips")), ("args.cni.ips", cni.get("ips"))):
        if values is None or values == []:
            continue
        if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
            raise CniError(BAD_CONFIG, f'{source} = {_shown(values)}: write a list such as ["10.0.0.5"]')
        asked[source] = _one(source, values, BAD_CONFIG)
    if len(set(asked.values())) > 1:
        shown = " and ".join(f"{source} = {address}" for source, address in asked.items())
        raise CniError(BAD_CONFIG, f"{shown}: a pod's interface has one address; ask for the same, or for one only")
    return next(iter(asked.items()), ("", None))


def _mac(args: Mapping[str, str], runtime: Mapping[str, object], cni: Mapping[str, object]) -> tuple[str, str]:
    """The MAC that the runtime asks for, and where: CNI_ARGS `MAC`, or the capability `mac` (CONVENTIONS.md)."""
    asked: dict[str, str] = {}
    if args.get("MAC"):
        asked["CNI_ARGS MAC"] = _one_mac("CNI_ARGS MAC", args["MAC"], BAD_ENVIRONMENT)
    for source, value in (("runtimeConfig.mac", runtime.get("mac")), ("args.cni.mac", cni.get("mac"))):
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise CniError(BAD_CONFIG, f"{source} = {_shown(value)}: write a text such as 0a:58:0a:00:00:05")
        asked[source] = _one_mac(source, value, BAD_CONFIG)
    if len(set(asked.values())) > 1:
        shown = " and ".join(f"{source} = {mac}" for source, mac in asked.items())
        raise CniError(BAD_CONFIG, f"{shown}: a pod's interface has one MAC; ask for the same, or for one only")
    return next(iter(asked.items()), ("", ""))


def _one_mac(source: str, text: str, code: int) -> str:
    try:
        return one_mac(source, text)
    except NoAddress as problem:
        raise CniError(code, str(problem)) from None


def _one(source: str, texts: list[str], code: int) -> Address:
    try:
        return one_address(source, texts, length=True)
    except NoAddress as problem:
        raise CniError(code, str(problem)) from None


def _given(config: Mapping[str, object], name: str, usual: object) -> object:
    """What a key says, or else the usual; null says nothing, as in Go."""
    found = config.get(name)
    return usual if found is None else found


def _member(config: Mapping[str, object], name: str, path: str = "") -> Mapping[str, object]:
    """An object inside the configuration, empty where there is none. path: where it is, unless at the top."""
    found = _given(config, name, {})
    if not isinstance(found, dict):
        raise CniError(BAD_CONFIG, f"{path or name} = {_shown(found)}: write an object, or leave it out")
    return found


def _shown(value: object) -> str:
    """As the configuration has it, cut off."""
    try:
        return f"{json.dumps(value):.200}"
    except RecursionError:  # it takes a few levels more than reading it did
        return "lists in lists"


def _uid(args: Mapping[str, str]) -> str:
    """The pod's UID, for those who tell of the pod: one that is none is left aside."""
    uid = args.get("K8S_POD_UID", "")
    return uid if _UID.match(uid) else ""


def _annotations(runtime: Mapping[str, object]) -> tuple[tuple[str, str], ...] | None:
    """The pod's, by the capability that containerd and CRI-O have for them."""
    said = runtime.get(ANNOTATIONS)
    if said is None:
        return None
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        shape = "the container runtime has to pass an object of texts"
        raise CniError(BAD_CONFIG, f"runtimeConfig {ANNOTATIONS} = {_shown(said)}: {shape}")
    return tuple((name, value) for name, value in said.items() if name.startswith(KNOWN_PREFIXES))


def _network(config: Mapping[str, object]) -> str:
    name = config.get("name")
    if not isinstance(name, str) or not _NETWORK.match(name):
        raise CniError(
            BAD_CONFIG,
            f"name = {_shown(name)}: a network's name is letters, digits, '_', '.', '-', a letter or digit first",
        )
    return name


def _pools(config: Mapping[str, object]) -> tuple[str, ...]:
    """`ipv4_pools`, at the top or in `ipam`, where Calico's configuration has it."""
    found: dict[str, tuple[str, ...]] = {}
    for path, pools in (
        ("ipv4_pools", config.get("ipv4_pools")),
        ("ipam.ipv4_pools", _member(config, "ipam").get("ipv4_pools")),
    ):
        if pools is None:
            continue
        if not isinstance(pools, list) or not all(isinstance(pool, str) for pool in pools):
            raise CniError(BAD_CONFIG, f"{path} = {_shown(pools)}: write a list of pool names or CIDRs")
        found[path] = tuple(pools)
    if len(set(found.values())) > 1:
        shown = " and ".join(f"{path} = {_shown(pools)}" for path, pools in found.items())
        raise CniError(BAD_CONFIG, f"{shown} differ; write one of the two")
    return next(iter(found.values()), ())


def _heed(config: Mapping[str, object]) -> None:
    """Refuse what a pod would silently not get."""
    if (found := unheeded.asked(config)) is not None:
        path, value, why = found
        raise CniError(BAD_CONFIG, f"{path} = {_shown(value)}: {why}")


def _mtu(config: Mapping[str, object]) -> int:
    mtu = _given(config, "mtu", 0)
    if not isinstance(mtu, int) or isinstance(mtu, bool) or (mtu != 0 and mtu not in _MTU):
        raise CniError(BAD_CONFIG, f"mtu = {_shown(mtu)}: write 0 for the node's, or {_MTU.start} to {_MTU.stop - 1}")
    return mtu
