"""What the CNI specification expects of a plugin, verb by verb and version by version, as a table.

Every row is executed by both programs against a real agent. Source: CNI specification 1.1.0, sections 2 and 5, and for
older callers those of 0.3.1, 0.4.0 and 1.0.0; where it leaves a choice, the row says what ours is.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from agents import Machine, cluster, eventually, plugin, twin_plugin

pytestmark = pytest.mark.root

ALL = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
CHECKED = ALL[1:]
NEWEST = ALL[3:]
NUMBERS = itertools.count(1)
SECRET = {"runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": 1}], "unheard": [1]}}


@dataclass(frozen=True, slots=True)
class Row:
    """One expectation.

    before: what has happened to the container: `nothing`, `netns` (it has a namespace), `added`, `deleted` (but its
    namespace is there), `gone` (its namespace is, without a DEL). damage: what was executed in the namespace then.
    env: CNI_ variables that differ from a well-behaved runtime's; None is left out. config: keys that differ, likewise;
    a prevResult of `...` is the ADD's. stdin: instead of all of it. code: of the error expected, 0 for success; -1 for
    any of our own (100 and up). names: words of its message.
    """

    what: str
    verb: str
    before: str = "netns"
    env: Mapping[str, str | None] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    stdin: str | None = None
    code: int = 0
    names: tuple[str, ...] = ()
    versions: tuple[str, ...] = NEWEST
    damage: str = ""


# What holds for every verb that reads a configuration.
BROKEN = [
    Row(f"{what} is not decoded", verb, "added" if verb == "CHECK" else "netns", stdin=text, code=6)
    for verb in ("ADD", "DEL", "CHECK", "GC", "STATUS")
    for what, text in [("no input", ""), ("half an object", '{"cniVersion": "1.1.0",'), ("a list", "[]"),
                       ("an object and more", '{"cniVersion": "1.1.0"}{}'), ("a word", "nonsense")]
]  # fmt: skip
INCOMPATIBLE = [
    Row(f"version {version} is not ours", verb, config={"cniVersion": version}, code=1, names=("cniVersion",))
    for verb in ("ADD", "DEL", "CHECK", "GC", "STATUS")
    for version in ("0.2.0", "1.2.0", "2.0.0", "one", None)
] + [
    Row("the version has no CHECK", "CHECK", versions=("0.3.1",), code=1, names=("0.4.0 or later",)),
    Row("the version has no GC", "GC", versions=ALL[:3], code=1, names=("1.1.0 or later",)),
    Row("the version has no STATUS", "STATUS", versions=ALL[:3], code=1, names=("1.1.0 or later",)),
]
CONFIGURED = [
    Row(f"the network's name {name!r} is no name", verb, config={"name": name}, code=7, names=("name",))
    for verb in ("ADD", "DEL", "GC", "STATUS")
    for name in (None, "", "-net", "a b", 1)
]
COMMANDS = [
    Row(f"CNI_COMMAND {command!r} is unknown", "ADD", env={"CNI_COMMAND": command}, code=4, names=("CNI_COMMAND",))
    for command in (None, "", "add", "ADD ", "UPDATE")
]

# The variables. A DEL does not need the namespace; GC and STATUS need none of these.
MISSING = [
    Row(f"{name} is {'empty' if value == '' else 'missing'}", verb, env={name: value}, code=4, names=(name,))
    for verb, needed in [("ADD", ("CONTAINERID", "NETNS", "IFNAME")), ("DEL", ("CONTAINERID", "IFNAME")),
                         ("CHECK", ("CONTAINERID", "NETNS", "IFNAME"))]
    for name, value in itertools.product([f"CNI_{one}" for one in needed], [None, ""])
]  # fmt: skip
INVALID = (
    [
        Row(f"{name}={value[:16]!r} is invalid", verb, env={name: value}, code=4, names=(name,))
        for verb in ("ADD", "DEL", "CHECK")
        for name, values in [
            ("CNI_CONTAINERID", ["-a", ".a", "_a", "a/b", "../a", "a b", "a:b"]),
            ("CNI_IFNAME", ["a" * 16, ".", "..", "a/b", "a:b", "a b", "a\tb"]),
        ]
        for value in values
    ]
    + [
        Row(
            "a container id that is too long for us",
            verb,
            env={"CNI_CONTAINERID": "a" * 129},
            code=4,
            names=("CNI_CONTAINERID",),
        )
        for verb in ("ADD", "CHECK")
    ]
    + [
        Row(f"CNI_NETNS={path} is no network namespace", verb, env={"CNI_NETNS": path}, code=4, names=("CNI_NETNS",))
        for verb in ("ADD", "CHECK")
        for path in ("/run/netns/nowhere", "/dev/null", "/proc/self/ns/mnt", "relative")
    ]
)

ADD = [
    Row("a result in the caller's version", "ADD", versions=ALL),
    Row("without CNI_ARGS", "ADD", env={"CNI_ARGS": None}, versions=ALL),
    Row("without CNI_PATH", "ADD", env={"CNI_PATH": None}),
    Row("an argument that nobody knows, to be ignored", "ADD", env={"CNI_ARGS": "IgnoreUnknown=1;FOO=BAR"}),
    Row("an argument that nobody knows", "ADD", env={"CNI_ARGS": "FOO=BAR;ABC=123"}),
    Row("arguments of Kubernetes", "ADD", env={"CNI_ARGS": "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_UID=c"}),
    Row("arguments that are no pairs", "ADD", env={"CNI_ARGS": "FOO"}, code=4, names=("CNI_ARGS",)),
    Row("capabilities of others", "ADD", config=SECRET),
    Row("unknown keys", "ADD", config={"unheard": {"of": [1]}, "cni.dev/unheard": 1, "args": {"a": {"b": 1}}}),
    Row("again: the same result (ours: the runtime may have missed it)", "ADD", "added", versions=ALL),
    Row("after a DEL", "ADD", "deleted"),
    Row("a second interface of the container", "ADD", "added", env={"CNI_IFNAME": "net1"}),
    Row("the interface exists already", "ADD", damage="ip link add eth0 type veth peer name other", code=-1,
        names=("eth0",)),
    Row("the node's own namespace", "ADD", env={"CNI_NETNS": "/proc/1/ns/net"}, code=4),
    Row("after another plugin (ours: we make the interface)", "ADD", config={"prevResult": {"cniVersion": "1.1.0"}},
        code=7, names=("prevResult",), versions=ALL),
    Row("an MTU that cannot be", "ADD", config={"mtu": 12}, code=7, names=("mtu",)),
    Row("a pool that is not there", "ADD", config={"ipv4_pools": ["blue"]}, code=101, names=("blue",)),
    Row("a timeout that cannot be", "ADD", config={"timeout": 0}, code=7, names=("timeout",)),
    Row("no agent: later", "ADD", config={"socket": "/run/none/agent.sock"}, code=11, names=("socket",), versions=ALL),
]  # fmt: skip
DEL = [
    Row("what was added", "DEL", "added", config={"prevResult": ...}, versions=ALL),
    Row("without prevResult", "DEL", "added", versions=ALL),
    Row("a prevResult that is none", "DEL", "added", config={"prevResult": "nonsense"}),
    Row("twice", "DEL", "deleted", versions=ALL),
    Row("what was never added", "DEL"),
    Row("what has no namespace", "DEL", "nothing", env={"CNI_NETNS": None}),
    Row("what has an empty namespace", "DEL", "added", env={"CNI_NETNS": ""}),
    Row("without CNI_NETNS", "DEL", "added", env={"CNI_NETNS": None}, versions=ALL),
    Row("without CNI_ARGS", "DEL", "added", env={"CNI_ARGS": None}),
    Row("after its namespace is gone", "DEL", "gone", versions=ALL),
    Row("after its interface is gone", "DEL", "added", damage="ip link del eth0"),
    Row("a namespace that is none", "DEL", "added", env={"CNI_NETNS": "/dev/null"}),
    Row("a configuration that no ADD would take", "DEL", "added", config={"mtu": 12, "ipv4_pools": 1, **SECRET}),
    Row("arguments that no ADD would take", "DEL", "added", env={"CNI_ARGS": "FOO;IP=ten"}),
    Row("a container id that no ADD would take", "DEL", env={"CNI_CONTAINERID": "a" * 3000}),
    Row("a pod's name that no ADD would take", "DEL", "added", env={"CNI_ARGS": f"K8S_POD_NAME={'b' * 3000}"}),
    Row("no agent: it is noted", "DEL", config={"socket": "/run/none/agent.sock"}, versions=ALL),
]
CHECK = [
    Row("right after the ADD", "CHECK", "added", config={"prevResult": ...}, versions=CHECKED),
    Row("without prevResult", "CHECK", "added", code=7, names=("prevResult",), versions=CHECKED),
    Row("the prevResult of another", "CHECK", "added", config={"prevResult": {"ips": [{"address": "192.0.2.9/32"}]}},
        code=-1, names=("192.0.2.9/32",)),
    Row("what was never added", "CHECK", config={"prevResult": {"ips": []}}, code=3, names=("not added",)),
    Row("what was deleted", "CHECK", "deleted", config={"prevResult": ...}, code=3, names=("deleted",)),
    Row("a route more, by a later plugin", "CHECK", "added", config={"prevResult": ...},
        damage="ip route add 198.51.100.0/24 via 169.254.1.1 dev eth0"),
    Row("an address more, by a later plugin", "CHECK", "added", config={"prevResult": ...},
        damage="ip address add 192.0.2.7/32 dev eth0"),
    Row("a smaller MTU, by a later plugin", "CHECK", "added", config={"prevResult": ...},
        damage="ip link set eth0 mtu 1300"),
    Row("the interface is gone", "CHECK", "added", config={"prevResult": ...}, code=-1, damage="ip link del eth0",
        versions=CHECKED),
    Row("the interface is down", "CHECK", "added", config={"prevResult": ...}, code=-1, names=("eth0", "down"),
        damage="ip link set eth0 down"),
    Row("the address is gone", "CHECK", "added", config={"prevResult": ...}, code=-1, names=("address",),
        damage="ip address flush dev eth0", versions=CHECKED),
    Row("the route is gone", "CHECK", "added", config={"prevResult": ...}, code=-1, names=("route",),
        damage="ip route del default"),
    Row("no agent: later", "CHECK", "added", config={"prevResult": ..., "socket": "/run/none/agent.sock"}, code=11),
]  # fmt: skip
VALID = "cni.dev/valid-attachments"
GC = [
    Row("no list: unknown, nobody goes", "GC", "added"),
    Row("null: unknown, nobody goes", "GC", "added", config={VALID: None, "keep": None}),
    Row("listed: it stays", "GC", "added", config={VALID: [{"containerID": "SELF", "ifname": "eth0"}]}),
    Row("another network's list: it stays", "GC", "added", config={"name": "other", VALID: []}),
    Row("no variables but the command", "GC", "added", env=dict.fromkeys(["CNI_CONTAINERID", "CNI_NETNS",
        "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"])),
    *(Row(f"{listed!r} is no list: nobody goes", "GC", "added", config={VALID: listed}, code=7, names=(VALID,))
      for listed in ("", {}, "all", 0, [1], [{}], [{"containerID": "SELF"}])),
    Row("no agent: later", "GC", config={"socket": "/run/none/agent.sock"}, code=11),
]  # fmt: skip
STATUS = [
    Row("ready", "STATUS"),
    Row("no variables but the command", "STATUS", env=dict.fromkeys(["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME",
        "CNI_ARGS", "CNI_PATH"])),
    Row("no agent: not available", "STATUS", config={"socket": "/run/none/agent.sock"}, code=50),
]  # fmt: skip
VERSION = [
    Row("the supported versions, in the caller's", "VERSION", "nothing", versions=ALL),
    Row("no variables but the command", "VERSION", "nothing", stdin='{"cniVersion": "1.1.0"}',
        env=dict.fromkeys(["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"])),
]  # fmt: skip
TABLE = [*ADD, *DEL, *CHECK, *GC, *STATUS, *VERSION, *COMMANDS, *MISSING, *INVALID, *BROKEN, *INCOMPATIBLE, *CONFIGURED]
CASES = [(row, version) for row in TABLE for version in row.versions]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A node with an agent; after all rows nothing is left on it."""
    with cluster(tmp_path_factory.mktemp("conformance"), 1, f"agconf{os.getpid()}") as made:
        made[0].agent.start()
        made[0].ready()
        yield made[0]
        eventually(lambda: made[0].cali() == [], lambda: made[0].cali())
        eventually(lambda: made.live() == {}, lambda: made.live())


@dataclass
class Container:
    """A container under test, its runtime, and the program that the runtime executes."""

    node: Machine
    program: list[str]
    version: str
    name: str
    result: dict[str, Any] = field(default_factory=dict)

    def call(self, verb: str, env: Mapping[str, str | None], config: str) -> tuple[int, str, str]:
        """One execution: exit code, standard output, standard error."""
        usual = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.name,
            "CNI_NETNS": f"/run/netns/{self.name}",
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=test;K8S_POD_NAME={self.name}",
            "CNI_PATH": "/opt/cni/bin",
        }
        wanted = [f"{name}={value}" for name, value in {**usual, **env}.items() if value is not None]
        done = self.node.lab.exec(self.node.name, ["env", "-i", *wanted, *self.program], stdin=config)
        return done.returncode, done.stdout, done.stderr

    def config(self, changes: Mapping[str, object]) -> str:
        """The network configuration as libcni derives it."""
        keys = {"cniVersion": self.version, "name": "k8s-pod-network", "type": "bgpnet", "runtimeConfig": {}, **changes}
        if keys.get("prevResult") is ...:
            keys["prevResult"] = self.result
        kept = {key: value for key, value in keys.items() if value is not None or key == VALID}
        return json.dumps(kept).replace('"SELF"', json.dumps(self.name))

    def prepare(self, row: Row) -> None:
        """What has happened before."""
        if row.before == "nothing":
            return
        self.node.netns(self.name)
        if row.before != "netns":
            code, out, err = self.call("ADD", {}, self.config({}))
            assert (code, err) == (0, ""), out
            self.result = json.loads(out)
        if row.before == "deleted":
            assert self.call("DEL", {}, self.config({}))[:2] == (0, "")
        if row.before == "gone":
            self.node.run("ip", "netns", "del", self.name)
        if row.damage:
            self.node.run("ip", "netns", "exec", self.name, *row.damage.split())

    def inside(self) -> dict[str, dict[str, Any]]:
        """The interfaces in its namespace by name, but lo."""
        told = json.loads(self.node.run("ip", "-n", self.name, "-j", "address"))
        return {one["ifname"]: one for one in told if one["ifname"] != "lo"}

    def forget(self) -> None:
        """What a runtime does at the end, whatever happened."""
        for ifname in ("eth0", "net1"):
            assert self.call("DEL", {"CNI_IFNAME": ifname}, self.config({}))[:2] == (0, "")
        self.node.run("ip", "netns", "del", self.name, check=False)


def container(node: Machine, version: str, twin: bool) -> Container:
    """A new one, by the twin or by the program in C."""
    program = twin_plugin() if twin else plugin()
    return Container(node, [str(program)], version, f"c{next(NUMBERS)}")


def told(rows: list[tuple[Row, str]]) -> list[str]:
    return [f"{row.verb} {version}: {row.what}" for row, version in rows]


@pytest.mark.parametrize("twin", [False, True], ids=["c", "python"])
@pytest.mark.parametrize(("row", "version"), CASES, ids=told(CASES))
def test_expectation(node: Machine, row: Row, version: str, twin: bool) -> None:
    one = container(node, version, twin)
    one.prepare(row)
    stdin = row.stdin if row.stdin is not None else one.config(row.config)
    code, out, err = one.call(row.verb, row.env, stdin)
    assert err == ""
    if row.code:
        assert_error(row, version, code, out)
        assert row.verb != "ADD" or ("eth0" in one.inside()) == (row.before == "added" or bool(row.damage))
    else:
        assert code == 0, out
        assert_success(row, one, out)
    one.forget()


def assert_error(row: Row, version: str, code: int, out: str) -> None:
    """Not zero, and the specification's object: version, code, message; the message names what is wrong."""
    said = json.loads(out)
    assert code == 1
    assert said.keys() - {"details"} == {"cniVersion", "code", "msg"}
    assert said["code"] == row.code if row.code > 0 else said["code"] >= 100, said
    early = row.code in (1, 4, 6)  # it may not have been read yet, or not be ours
    assert said["cniVersion"] in ({version, "1.0.0"} if early else {version})
    assert "\n" not in said["msg"]
    for word in row.names:
        assert word in said["msg"]


def assert_success(row: Row, one: Container, out: str) -> None:
    """Only ADD and VERSION have something to say; what was asked for is so."""
    if row.verb == "ADD":
        ifname = row.env.get("CNI_IFNAME") or "eth0"
        assert_result(one, ifname, json.loads(out))
        assert one.result == {} or row.before == "deleted" or ifname != "eth0" or one.result == json.loads(out)
    elif row.verb == "VERSION":
        assert json.loads(out) == {"cniVersion": one.version, "supportedVersions": list(ALL)}
    else:
        assert out == ""
    if row.verb == "DEL" and row.before == "added" and not row.damage:
        eventually(lambda: one.inside() == {}, lambda: one.inside())
    if row.verb == "GC" and row.before == "added":
        assert one.inside().keys() == {"eth0"}


def assert_result(one: Container, ifname: str, said: dict[str, Any]) -> None:
    """Section 5, ADD Success: its keys, in the caller's version, and what they tell is true."""
    assert said.keys() == {"cniVersion", "interfaces", "ips", "routes", "dns"}
    assert said["cniVersion"] == one.version
    mtu = {"mtu"} if one.version == "1.1.0" else set()
    host, pod = said["interfaces"]
    assert host.keys() == {"name", "mac"} | mtu
    assert pod.keys() == {"name", "mac", "sandbox"} | mtu
    assert (pod["name"], pod["sandbox"]) == (ifname, f"/run/netns/{one.name}")
    (ip,) = said["ips"]
    assert ip.keys() == {"address", "interface"} | ({"version"} if one.version in ("0.3.1", "0.4.0") else set())
    assert ip["interface"] == 1
    assert ip.get("version", "4") == "4"
    assert (said["routes"], said["dns"]) == ([], {})
    found = one.inside()[ifname]
    assert (found["address"], found["mtu"]) == (pod["mac"], pod.get("mtu", found["mtu"]))
    held = [f"{each['local']}/{each['prefixlen']}" for each in found["addr_info"] if each["family"] == "inet"]
    assert held == [ip["address"]]
    assert host["name"] in one.node.cali()


@pytest.mark.parametrize("twin", [False, True], ids=["c", "python"])
@pytest.mark.parametrize("ifname", ["eth0", "net1"])
def test_a_gc_removes_what_its_network_does_not_list(node: Machine, ifname: str, twin: bool) -> None:
    one, other = (container(node, "1.1.0", twin) for _ in range(2))
    for each in (one, other):
        each.prepare(Row("", "GC", "added"))
    listed = [{"containerID": other.name, "ifname": "eth0"}, {"containerID": one.name, "ifname": "eth0"}]
    listed[1]["containerID" if ifname == "eth0" else "ifname"] = "another"
    for _ in range(2):
        assert one.call("GC", {}, one.config({VALID: listed})) == (0, "", "")
        eventually(lambda: one.inside() == {}, lambda: one.inside())
    assert other.inside().keys() == {"eth0"}
    for each in (one, other):
        each.forget()
