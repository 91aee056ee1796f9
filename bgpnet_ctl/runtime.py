"""This machine's container runtime, asked by crictl where that is installed: which pod sandboxes it knows.

crictl finds the runtime by itself (its own configuration, or the usual sockets of containerd and CRI-O).
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import msgspec
from msgspec import Struct

from bgpnet.ipamcheck.picture import Runtime, Sandbox

CRICTL = "crictl"
SECONDS = 10.0
"""How long one call may take."""
INSPECTED = 100
"""Of so many sandboxes that are recorded nowhere the address is asked for: pods of the host's network, as a rule."""
READY = "SANDBOX_READY"


class _Meta(Struct):
    name: str = ""
    namespace: str = ""


class _Item(Struct):
    id: str
    metadata: _Meta
    state: str = ""


class _Listing(Struct):
    items: tuple[_Item, ...] = ()


class _Network(Struct):
    ip: str = ""


class _Status(Struct):
    network: _Network | None = None


class _Inspected(Struct):
    status: _Status


def look(node: str, recorded: set[str]) -> Runtime:
    """The sandboxes of this node; those whose container is not among the recorded with their address."""
    if shutil.which(CRICTL) is None:
        return Runtime(node, None, f"there is no {CRICTL} on this machine")
    try:
        listing = msgspec.json.decode(_run("pods", "-o", "json"), type=_Listing)
        found = [_sandbox(item) for item in listing.items]
        strange = [one.container for one in found if one.ready and one.container not in recorded][:INSPECTED]
        addresses = {container: _address(container) for container in strange}
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError) as error:
        return Runtime(node, None, f"{CRICTL} does not tell: {_reason(error)}")
    return Runtime(node, tuple(replace(one, address=addresses.get(one.container, "")) for one in found))


def _run(*words: str) -> bytes:
    argv = [CRICTL, "--timeout", f"{SECONDS / 2:.0f}s", *words]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=True).stdout


def _sandbox(item: _Item) -> Sandbox:
    return Sandbox(item.id, f"{item.metadata.namespace}/{item.metadata.name}", item.state == READY)


def _address(container: str) -> str:
    """Empty for a sandbox that is gone meanwhile, or has none."""
    try:
        inspected = msgspec.json.decode(_run("inspectp", "-o", "json", container), type=_Inspected)
    except subprocess.CalledProcessError:
        return ""
    return inspected.status.network.ip if inspected.status.network else ""


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with code {error.returncode}"
    return str(error)
