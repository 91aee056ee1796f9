"""The agent's settings: one row each, from which the file's keys, the environment and the flags derive. Pure.

`run_dir` is the key `run_dir` of /etc/bgpnet/agent.yaml, beaten by BGPNET_RUN_DIR, beaten by --run-dir.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from math import isfinite
from typing import Any, TypeVar

from bgpnet import conflist, names
from bgpnet.annotations import KEEP, KEPT, LONGEST
from bgpnet.autodetect import METHODS, parse_method
from bgpnet.errors import UsageError
from bgpnet.model import ip

FILE = "/etc/bgpnet/agent.yaml"
_LONGEST_RUN_DIR = 107 - len("/speaker.sock")  # unix(7): sun_path without its NUL
PREFIX = "BGPNET_"

HIDDEN_PREFIX = "BGPNET_SECRET_"
"""Variables with BGP passwords begin so (bgp/secret.py)."""

AUTO, IN_CLUSTER, NONE = "auto", "in-cluster", "none"
"""Where Kubernetes is; else the path of a kubeconfig."""
REQUIRED, OFF = "required", "off"
"""Whether packet rules are written."""
POOLS_ONLY, POOLS_AND_HOSTS = "IPPoolsOnly", "IPPoolsAndHostIPs"
"""The values of Calico's FelixConfiguration.natOutgoingExclusions."""
DROP, DISABLED = "Drop", "Disabled"
"""Two of the values of Calico's FelixConfiguration.serviceLoopPrevention."""

NOT_SETTINGS = frozenset({"BGPNET_SOAK", "BGPNET_UML"})
"""Variables of the project's tests and lab, which an agent started by them inherits."""

_SERVICE_LINK = re.compile(
    r"BGPNET_(\w+_)?(SERVICE_HOST=|SERVICE_PORT(_\w+)?=|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?=|PORT=(tcp|udp|sctp)://).*"
)
"""What Kubernetes sets in every container of a namespace that has a Service called bgpnet or bgpnet-…"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """A row: its name, the value without which it stands, how a value is read, and what it is for.

    read: turns what the file, the environment or a flag says into the value; raises ValueError with what is allowed.
    """

    name: str
    default: object
    read: Callable[[object], object]
    help: str

    @property
    def env(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """Its flag."""
        return "--" + self.name.replace("_", "-")


def _setting(default: T, read: Callable[[object], T], text: str) -> T:
    return field(default=default, metadata={"read": read, "help": text})


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("it must be text; put it in quotes")
    return value


def _node(value: object) -> str:
    if (name := _text(value)) and not names.is_subdomain(name):
        raise ValueError("it must be a lower-case DNS name of at most 253 characters, such as node1")
    return name


def _datastore(value: object) -> str:
    url = _text(value)
    if not re.match(r"sqlite:///.|etcd://.|kubernetes:", url):
        raise ValueError("it must be sqlite:///PATH, etcd://HOST:PORT[,HOST:PORT…] or kubernetes:")
    return url


def _directory(value: object) -> str:
    path = _text(value)
    if not path.startswith("/"):
        raise ValueError("it must be a path that begins with /")
    return path.rstrip("/") or "/"


def _run_directory(value: object) -> str:
    path = _directory(value)
    if len(path.encode("utf-8", "surrogateescape")) > _LONGEST_RUN_DIR:
        raise ValueError(f"it must be at most {_LONGEST_RUN_DIR} bytes long: a socket's path has 107 at most")
    return path


def _directory_or_none(value: object) -> str:
    return _directory(value) if value else ""


def _address(value: object) -> str:
    text = _text(value)
    try:
        right = not text or ip.interface(text).version == 4
    except ValueError:
        right = False
    if not right:
        raise ValueError("it must be an IPv4 address such as 192.0.2.1 or 192.0.2.1/24, or empty to look for one")
    return text


def _method(value: object) -> str:
    text = _text(value)
    parse_method(text)
    return text or "first-found"


def _kubernetes(value: object) -> str:
    text = _text(value)
    if text not in (AUTO, IN_CLUSTER, NONE) and not text.startswith("/"):
        raise ValueError(f"it must be {AUTO}, {IN_CLUSTER}, {NONE}, or the path of a kubeconfig")
    return text


def _namespace(value: object) -> str:
    if (name := _text(value)) and not (names.is_subdomain(name) and "." not in name and len(name) <= 63):
        raise ValueError("it must be a namespace's name, such as kube-system")
    return name


def _number(value: object, low: float, high: float, what: str) -> float:
    """From a number or its text; a bool is no number, whatever Python says."""
    wrong = ValueError(f"it must be {what} from {low:g} to {high:.10g}")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise wrong
    try:
        number = float(value)
    except ValueError:
        raise wrong from None
    if not isfinite(number) or not low <= number <= high:
        raise wrong
    return number


def _seconds(value: object) -> float:
    return _number(value, 0, 1200, "seconds")


def _keep(value: object) -> int:
    return int(_number(value, 1, LONGEST, "seconds"))


def _port(value: object) -> int:
    number = _number(value, 0, 65535, "0 for none, or a port")
    if number != int(number):
        raise ValueError("it must be a whole number from 0 to 65535")
    return int(number)


def _host(value: object) -> str:
    try:
        return str(ip.address(_text(value)))
    except ValueError:
        raise ValueError("it must be an address such as 127.0.0.1, or 0.0.0.0 for all of the machine's") from None


def _prefixes(value: object) -> int:
    number = _number(value, 1, 10_000_000, "a whole number")
    if number != int(number):
        raise ValueError("it must be a whole number from 1 to 10000000")
    return int(number)


def _workers(value: object) -> int:
    number = _number(value, 1, 256, "a whole number")
    if number != int(number):
        raise ValueError("it must be a whole number from 1 to 256")
    return int(number)


def _mtu(value: object) -> int:
    number = _number(value, 0, 65535, "0 for the node's, or a whole number")
    if number != int(number) or 0 < number < 68:
        raise ValueError("it must be 0 for the node's, or a whole number from 68 to 65535")
    return int(number)


def _as_number(value: object) -> int | None:
    """Plain, or dotted (RFC 5396); 0 is reserved (RFC 7607). A float is a dotted number that lost its quotes."""
    if value is None or value == "":
        return None
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    found = re.fullmatch(r"(?:(\d{1,5})\.)?(\d{1,10})", text) if isinstance(text, str) else None
    if found:
        high, low = int(found[1] or 0), int(found[2])
        number = high << 16 | low
        if 1 <= number < 1 << 32 and (not found[1] or low < 1 << 16):
            return number
    raise ValueError("it must be 1 to 4294967295, or dotted such as '1.10' in quotes")


def _one_of(*allowed: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in allowed:
            raise ValueError(f"it must be one of {', '.join(allowed)}")
        return str(value)

    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an agent was told; the rows themselves (SETTINGS) are made from these fields."""

    node: str = _setting("", _node, "this node's name in the network; empty: the host's name")
    datastore: str = _setting(
        "sqlite:///var/lib/bgpnet/store.db", _datastore, "sqlite:///PATH, etcd://HOST:PORT,… or kubernetes:"
    )
    run_dir: str = _setting("/run/bgpnet", _run_directory, "where the sockets are")
    state_dir: str = _setting("/var/lib/bgpnet", _directory, "where the journal and the node's identity are kept")
    secrets_dir: str = _setting(
        "",
        _directory_or_none,
        "where BGP passwords are, in files NAME/KEY as Secrets are mounted; empty: RUN_DIR/secrets",
    )
    ip: str = _setting("", _address, "the node's IPv4 address, with or without /LENGTH; empty: look for it")
    ip_autodetection_method: str = _setting("first-found", _method, f"how to look for the address: {METHODS}")
    as_number: int | None = _setting(None, _as_number, "the node's AS number; none: the Node's or the cluster's")
    firewall: str = _setting(
        REQUIRED,
        _one_of(REQUIRED, OFF),
        "required: masquerading for natOutgoing and source checks by nft, or iptables-legacy where the kernel has no "
        "nftables; off: no packet rules",
    )
    nat_outgoing_exclusions: str = _setting(
        POOLS_ONLY,
        _one_of(POOLS_ONLY, POOLS_AND_HOSTS),
        f"what is not masqueraded by natOutgoing: {POOLS_ONLY}, packets to addresses of any pool; {POOLS_AND_HOSTS}, "
        "those to nodes' addresses, too",
    )
    service_loop_prevention: str = _setting(
        DROP,
        _one_of(DROP, DISABLED),
        f"packets that are forwarded to service addresses announced by BGP, and that no Service takes: {DROP}, "
        f"or {DISABLED}, they go where the routes lead",
    )
    prefix_limit: int = _setting(
        100_000, _prefixes, "prefixes that are taken of one BGP peer; the first ones stay, the others are refused"
    )
    kubernetes: str = _setting(
        AUTO,
        _kubernetes,
        "whether pods are those of Kubernetes: in-cluster (by the pod's ServiceAccount), the path of a kubeconfig, "
        "none; auto: in-cluster where the agent runs in a pod, and KUBECONFIG's with the datastore kubernetes:",
    )
    kubernetes_namespace: str = _setting(
        "", _namespace, "where Secrets with BGP passwords are; empty: the agent's own, or kube-system outside of a pod"
    )
    health_host: str = _setting("127.0.0.1", _host, "the address on which /livez and /readyz are served")
    health_port: int = _setting(9099, _port, "the port on which /livez and /readyz are served; 0: nowhere")
    metrics_host: str = _setting("127.0.0.1", _host, "the address on which /metrics is served")
    metrics_port: int = _setting(9091, _port, "the port on which /metrics is served; 0: nowhere")
    log_level: str = _setting("info", _one_of("debug", "info", "warning", "error"), "debug, info, warning or error")
    workers: int = _setting(8, _workers, "threads that wire pods")
    address_rest: float = _setting(30.0, _seconds, "seconds that a released address rests before it is used again")
    address_keep: int = _setting(
        KEPT, _keep, f"seconds that a released address is kept for its pod where the annotation {KEEP} asks for that"
    )
    leak_grace: float = _setting(
        60.0, _seconds, "seconds that a pod's link and namespace are gone before its address is released without a DEL"
    )
    idle_after: float = _setting(
        60.0, _seconds, "seconds that a block has been empty before other nodes may take it; shorten it in tight pools"
    )
    cni_conf_dir: str = _setting(
        "", _directory_or_none, "where to write 10-bgpnet.conflist once the agent answers; empty: nowhere"
    )
    cni_bin_dir: str = _setting(conflist.BIN_DIR, _directory, "where the container runtime looks for plugins")
    cni_plugins: str = _setting(
        conflist.AUTO,
        conflist.setting,
        "plugins chained after ours: names joined by commas, or a list of names and configurations; none; "
        "auto: portmap and bandwidth where they are installed",
    )
    cni_mtu: int = _setting(0, _mtu, "MTU of the pods' links, written to 10-bgpnet.conflist; 0: the node's")

    @property
    def agent_socket(self) -> str:
        """Where the CNI plugin and bgpnetctl ask."""
        return f"{self.run_dir}/agent.sock"

    @property
    def secrets(self) -> str:
        """Where the files with BGP passwords are."""
        return self.secrets_dir or f"{self.run_dir}/secrets"

    @property
    def speaker_socket(self) -> str:
        """Where the speaker's relay listens."""
        return f"{self.run_dir}/speaker.sock"


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(row.name, row.default, row.metadata["read"], row.metadata["help"]) for row in fields(Settings)
)
"""The table: help texts, flags and documentation are made from it."""

_BY_NAME = {row.name: row for row in SETTINGS}
_BY_ENV = {row.env: row for row in SETTINGS}


def load(file: Mapping[str, object], environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """The settings; raises UsageError with all that is wrong.

    file: what the YAML file says; a key without a value counts as left out. environ: the whole environment; an empty
    variable counts as not set. flags: by the settings' names; None where a flag was not given.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for row, where, value in [*_of_file(file, problems), *_of_environment(environ, problems), *_of_flags(flags)]:
        try:
            values[row.name] = row.read(value)
        except ValueError as error:
            problems.append(f"{where} is {value!r}: {error}")
    if problems:
        raise UsageError("; ".join(problems))
    return Settings(**values)


def _of_file(file: Mapping[str, object], problems: list[str]) -> Iterator[tuple[Setting, str, object]]:
    for key, value in ((str(key), value) for key, value in file.items()):
        if row := _BY_NAME.get(key):
            if value is not None:
                yield row, f"{key} in the settings file", value
        else:
            problems.append(f"{key!r} in the settings file is not a setting: {_closest(key, _BY_NAME)}")


def _of_environment(environ: Mapping[str, str], problems: list[str]) -> Iterator[tuple[Setting, str, object]]:
    for name, value in sorted(environ.items()):
        if row := _BY_ENV.get(name):
            if value:
                yield row, f"the environment variable {name}", value
        elif name.startswith(PREFIX) and name not in NOT_SETTINGS and not is_foreign(name, value):
            problems.append(f"the environment variable {name} is not a setting: {_closest(name, _BY_ENV)}")


def is_foreign(name: str, value: str) -> bool:
    """Whether a variable that begins like ours is none of ours: a BGP password, or Kubernetes' word of a Service."""
    return name.startswith(HIDDEN_PREFIX) or _SERVICE_LINK.match(f"{name}={value}") is not None


def _of_flags(flags: Mapping[str, object]) -> Iterator[tuple[Setting, str, object]]:
    for name, value in flags.items():
        if value is not None:
            yield _BY_NAME[name], f"the flag {_BY_NAME[name].flag}", value


def _closest(wrong: str, known: Mapping[str, Setting]) -> str:
    """Which one was probably meant: one that it is the beginning of, else the most similar."""
    begun = [name for name in known if name.startswith(wrong)]
    closest = (begun or get_close_matches(wrong, known, n=1, cutoff=0))[0]
    return f"remove it, or write the closest that is one, {closest}"
