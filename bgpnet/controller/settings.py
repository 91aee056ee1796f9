"""The controller's settings: one row each, from which environment and flags derive, as the agent's (config.py). Pure.

`leak_grace_period` is BGPNET_LEAK_GRACE_PERIOD, beaten by --leak-grace-period.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from bgpnet import config
from bgpnet.config import Setting
from bgpnet.errors import UsageError

_AGENTS = {row.name: row for row in config.SETTINGS}
_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 7 * 86400.0


def _path(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("it must be a file's path")
    return value


def _asked(value: object) -> str:
    if value not in ("auto", "off"):
        raise ValueError("it must be auto or off")
    return str(value)


def _duration(value: object) -> float:
    """From seconds, or text such as `15m` or `1h30m`, as Calico writes it."""
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|)", str(value))
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    whole = parts and "".join(number + unit for number, unit in parts) == str(value)
    units = len(parts) == 1 or all(unit for _, unit in parts)
    if isinstance(value, bool) or not (whole and units and 0 <= seconds <= _LONGEST):
        raise ValueError("it must be seconds, or a time such as 90s, 15m or 1h30m, of at most a week")
    return seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a controller was told; times in seconds."""

    datastore: str = str(_AGENTS["datastore"].default)
    kubeconfig: str = ""
    kubernetes: str = "auto"
    leak_grace_period: float = 900.0
    node_silence: float = 60.0
    network_down_after: float = 120.0
    reconciler_period: float = 300.0
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 9094
    log_level: str = "info"


_DEFAULT = Settings()
SETTINGS: tuple[Setting, ...] = (
    _AGENTS["datastore"],
    Setting("kubeconfig", "", _path, "the kubeconfig of the cluster; empty: KUBECONFIG, the pod's own, ~/.kube/config"),
    Setting("kubernetes", "auto", _asked, "off: only what the datastore itself tells is done"),
    Setting(
        "leak_grace_period",
        _DEFAULT.leak_grace_period,
        _duration,
        "how long an address has had no pod before its node is asked to release it; 0: never",
    ),
    Setting(
        "node_silence",
        _DEFAULT.node_silence,
        _duration,
        "how long the agent of a node that Kubernetes deleted has been silent before the node's blocks are given back",
    ),
    Setting(
        "network_down_after",
        _DEFAULT.network_down_after,
        _duration,
        "how long an agent has been silent before its node's network is called unavailable; 0: never",
    ),
    Setting(
        "reconciler_period",
        _DEFAULT.reconciler_period,
        _duration,
        "how often all is looked over without a reason; 0: never",
    ),
    Setting(
        "metrics_host",
        _DEFAULT.metrics_host,
        _AGENTS["metrics_host"].read,
        "where /metrics, /livez and /readyz are",
    ),
    Setting("metrics_port", _DEFAULT.metrics_port, _AGENTS["metrics_port"].read, "their port; 0: nowhere"),
    _AGENTS["log_level"],
)
"""The table: help texts, flags and documentation are made from it."""

_BY_ENV = {row.env: row for row in SETTINGS}
_KNOWN = {row.env for row in config.SETTINGS} | _BY_ENV.keys() | config.NOT_SETTINGS
_INITS = "BGPNET_IPV4POOL_"
"""How the variables of `bgpnet init` begin, which `kubectl set env deployment/…` gives the controller, too."""


def load(environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """The settings; raises UsageError with all that is wrong. An empty variable counts as not set, None as no flag."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    said = [(row, f"the environment variable {row.env}", environ.get(row.env) or None) for row in SETTINGS]
    said += [(row, f"the flag {row.flag}", flags.get(row.name)) for row in SETTINGS]  # type: ignore[misc]  # any object
    for row, where, value in said:
        if value is None:
            continue
        try:
            values[row.name] = row.read(value)
        except ValueError as error:
            problems.append(f"{where} is {value!r}: {error}")
    problems += _unknown(environ)
    if problems:
        raise UsageError("; ".join(problems))
    return Settings(**values)


def _unknown(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like ours and are neither the controller's nor the agent's."""
    return [
        f"the environment variable {name} is not a setting: remove it, or write the closest that is one, "
        f"{get_close_matches(name, _BY_ENV, n=1, cutoff=0)[0]}"
        for name, value in sorted(environ.items())
        if name.startswith(config.PREFIX) and name not in _KNOWN and not name.startswith(_INITS)
        if not config.is_foreign(name, value)
    ]
