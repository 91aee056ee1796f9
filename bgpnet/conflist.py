"""The network configuration list that the container runtime reads: what stands in it. Pure.

Every plugin of a list is called in one version, which the runtime chooses: an older libcni takes `cniVersion`, a newer
one the highest of `cniVersions` that it knows. So both name only what every chained plugin says it supports, and
`cniVersion` is never above 1.0.0: containerd 1.6 passes 1.1.0 on and then refuses a result of that version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAME = "10-bgpnet.conflist"
NETWORK = "bgpnet"
"""The network's name."""
TYPE = "bgpnet"
"""Our plugin's."""
CONF_DIR = "/etc/cni/net.d"
BIN_DIR = "/opt/cni/bin"
SOCKET = "/run/bgpnet/agent.sock"
"""What the plugin asks unless the configuration says otherwise."""
HIGHEST = (1, 0, 0)
"""What `cniVersion` is at most."""
EXTENSIONS = (".conf", ".conflist", ".json")
"""What runtimes take for a network configuration (libcni's ConfFiles)."""
ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
"""The capability by which containerd and CRI-O pass a pod's annotations."""

AUTO = "auto"
NONE = "none"

Entry = Mapping[str, Any]

KNOWN: Mapping[str, Entry] = {
    "portmap": {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}},
    "bandwidth": {"type": "bandwidth", "capabilities": {"bandwidth": True}},
}
"""What stands in the list for a plugin that is named and no more (source: Calico's manifests)."""

_PLUGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")


@dataclass(frozen=True, slots=True)
class Chain:
    """The plugins after ours. asked: somebody named them, and is told when one is missing."""

    entries: tuple[Entry, ...]
    asked: bool


@dataclass(frozen=True, slots=True)
class Conflist:
    """The file's content; who is chained; and who was left out and why, a sentence each."""

    content: bytes
    chained: tuple[str, ...]
    left_out: tuple[str, ...]


def chain(value: object) -> Chain:
    """The plugins that a setting names; raises ValueError with what is allowed.

    `auto`: portmap and bandwidth where they are installed; `none`; names joined by commas; or a list, of names and of
    plugin configurations (as JSON where it is text).
    """
    if value is None or value == "" or value == AUTO:
        return Chain(tuple(KNOWN.values()), asked=False)
    if value == NONE:
        return Chain((), asked=True)
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as problem:
            raise ValueError(f"it is not a JSON list ({problem})") from None
    elif isinstance(value, str):
        value = [name.strip() for name in value.split(",")]
    if not isinstance(value, list):
        raise ValueError(f"it must be {AUTO}, {NONE}, names such as portmap,tuning, or a list of plugins")
    entries = tuple(map(_entry, value))
    types = [entry["type"] for entry in entries]
    if twice := sorted({one for one in types if types.count(one) > 1}):
        raise ValueError(f"it names {twice[0]} twice: leave one out")
    return Chain(entries, asked=True)


def _entry(one: object) -> Entry:
    entry = KNOWN.get(one, {"type": one}) if isinstance(one, str) else one
    name = entry.get("type") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(name, str) or not _PLUGIN.match(name):
        raise ValueError(f"{one!r} in it is no plugin: write its name, or its configuration with a type")
    can = entry.get("capabilities", {})
    if not isinstance(can, dict) or not all(isinstance(one, bool) for one in can.values()):
        raise ValueError(f'the capabilities of {name} in it are {can!r:.200}: write an object such as {{"mac": true}}')
    if name == "tuning" and (entry.get("mac") or can.get("mac")):
        # With a link's MAC the kernel forgets its neighbours, and the pod its gateway; the node has another one for it.
        raise ValueError("tuning in it is to set the pod's MAC, which cuts it off: bgpnet sets it itself (docs/cni.md)")
    if name == "sbr" and "table" not in entry:
        # It moves the pod's routes to a table of its own, but for the default route, whose gateway no result names.
        raise ValueError("sbr in it takes the pod's default route away, which cuts it off: leave it out (docs/cni.md)")
    if name == TYPE:
        raise ValueError(f"it names {TYPE}, which is the first plugin of the list anyway: leave it out")
    return entry


def setting(value: object) -> str:
    """A chain as the text that `chain` reads; raises ValueError."""
    read = chain(value)
    if not read.asked:
        return AUTO
    return json.dumps(list(read.entries)) if read.entries else NONE


def versions(answer: bytes) -> tuple[str, ...]:
    """What a plugin's answer to VERSION says it supports; raises ValueError when it says no such thing."""
    said = json.loads(answer)
    found = said.get("supportedVersions") if isinstance(said, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError("no supportedVersions")
    return tuple(found)


def build(
    plugins: Chain, said: Mapping[str, Sequence[str] | str], ours: Sequence[str], *, mtu: int = 0, socket: str = SOCKET
) -> Conflist:
    """The list with every chained plugin that can be called together with ours.

    said: by a plugin's type, the versions that it supports, or why it cannot be asked (a phrase). ours: our versions.
    mtu: of the pods' links; 0 leaves it to the agent.
    """
    chained, left_out, common = _together(plugins, said, ours)
    usual = max((one for one in common if _number(one) <= HIGHEST), key=_number)
    higher = sorted((one for one in common if _number(one) >= _number(usual)), key=_number)
    head: dict[str, object] = {"cniVersion": usual}
    if len(higher) > 1:
        head["cniVersions"] = higher
    first: dict[str, object] = {"type": TYPE, "capabilities": {"ips": True, "mac": True, ANNOTATIONS: True}}
    if mtu:
        first["mtu"] = mtu
    if socket != SOCKET:
        first["socket"] = socket
    document = {**head, "name": NETWORK, "plugins": [first, *chained]}
    content = json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
    return Conflist(content, tuple(entry["type"] for entry in chained), tuple(left_out))


def _together(
    plugins: Chain, said: Mapping[str, Sequence[str] | str], ours: Sequence[str]
) -> tuple[list[Entry], list[str], list[str]]:
    """Who can be called together with ours, who cannot (a sentence each), and the versions that all of them support."""
    common = list(ours)
    chained: list[Entry] = []
    left_out = []
    for entry in plugins.entries:
        name, answer = entry["type"], said.get(entry["type"], "")
        both = [] if isinstance(answer, str) else [one for one in common if one in answer]
        if isinstance(answer, str):
            if answer or plugins.asked:
                left_out.append(_left_out(name, answer or "it is not installed", "install it"))
        elif not any(_number(one) <= HIGHEST for one in both):
            without = f"it supports CNI {', '.join(answer) or 'in no version'}, and the others {', '.join(common)}"
            left_out.append(_left_out(name, without, "install another version of it"))
        else:
            common = both
            chained.append(entry)
    return chained, left_out, common


def _left_out(name: str, reason: str, remedy: str) -> str:
    return f"the plugin {name} is left out of {NAME}: {reason}; {remedy}, or leave it out of cni_plugins"


def before(names: Iterable[str]) -> list[str]:
    """Of a directory's files, the network configurations that runtimes take before ours: they use the first."""
    return sorted(one for one in names if one.endswith(EXTENSIONS) and one < NAME)


def leads_here(content: bytes) -> bool:
    """Whether another's network configuration has its plugin call ours, as Multus calls its default network's.

    Source: multus-cni's docs/configuration.md: `clusterNetwork` (a network's name, or its file), else `delegates`.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return any(map(_calls_ours, _plugins(document)))


def _calls_ours(multus: Mapping[str, Any]) -> bool:
    default = multus.get("clusterNetwork")
    if isinstance(default, str):
        return default.rpartition("/")[2] in (NETWORK, NAME)
    first = _dicts(multus.get("delegates"))[:1]
    return any(plugin.get("type") == TYPE for one in first for plugin in _plugins(one))


def _plugins(document: object) -> list[dict[str, Any]]:
    """Those of a list, or the one that is configured without a list."""
    return [plugin for one in _dicts([document]) for plugin in _dicts(one.get("plugins", [one]))]


def _dicts(listed: object) -> list[dict[str, Any]]:
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def first_is(folder: str, other: str) -> str:
    """What is wrong with such a file, as a sentence."""
    return (
        f"{folder}/{other} sorts before {NAME}, and container runtimes use the first: pods get that network instead of "
        "ours; remove it or rename it"
    )


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
