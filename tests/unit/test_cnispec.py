"""What a runtime asks and is told: every refusal names the variable or field and has the specification's code."""

from __future__ import annotations

import json

import pytest

from bgpnet import cnispec
from bgpnet.cnispec import Attachment, CniRequest, Wired
from bgpnet.conflist import ANNOTATIONS
from bgpnet.errors import CniError
from bgpnet.model import ip
from bgpnet.wire import CniCall

ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/p1",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0",
}
CONFIG = {"cniVersion": "1.0.0", "name": "pods", "type": "bgpnet"}


def call(env: dict[str, str] | None = None, config: object = None, stdin: bytes | None = None) -> CniCall:
    return CniCall({**ENV, **(env or {})}, json.dumps(CONFIG | (config or {})).encode() if stdin is None else stdin)


def test_a_kubernetes_add() -> None:
    assert cnispec.parse(call(config={"mtu": 1400, "ipv4_pools": ["blue"]})) == CniRequest(
        command="ADD",
        attachment=Attachment("c1", "eth0"),
        netns="/run/netns/p1",
        pod="shop/cart-0",
        network="pods",
        version="1.0.0",
        pools=("blue",),
        mtu=1400,
    )


@pytest.mark.parametrize(
    ("args", "config", "source"),
    [
        ("IP=10.0.0.5", {}, "CNI_ARGS IP"),
        ("IgnoreUnknown=1;IP=10.0.0.5/32", {}, "CNI_ARGS IP"),
        ("", {"runtimeConfig": {"ips": ["10.0.0.5/24"]}}, "runtimeConfig.ips"),
        ("", {"args": {"cni": {"ips": ["10.0.0.5"]}}, "runtimeConfig": {"ips": []}}, "args.cni.ips"),
        ("IP=10.0.0.5", {"args": {"cni": {"ips": ["10.0.0.5"]}}}, "CNI_ARGS IP"),
    ],
)
def test_the_runtime_asks_for_one_address(args: str, config: object, source: str) -> None:
    request = cnispec.parse(call({"CNI_ARGS": args}, config))
    assert (request.address, request.address_by) == (ip.address("10.0.0.5"), source)


OPTIONAL = [
    dict.fromkeys(("mtu", "ipv4_pools", "ipam", "args", "runtimeConfig", "prevResult")),
    {
        "ipam": {"ipv4_pools": None},
        "args": {"cni": None},
        "runtimeConfig": {"ips": None, "mac": None, ANNOTATIONS: None},
    },
    {"args": {"cni": {"ips": None, "mac": None}}},
]


@pytest.mark.parametrize("config", OPTIONAL)
def test_null_is_absent_whatever_the_key(config: object) -> None:
    assert cnispec.parse(call(config=config)) == cnispec.parse(call())
    assert cnispec.parse(call({"CNI_ARGS": f"{ENV['CNI_ARGS']};IP=;MAC="})) == cnispec.parse(call())


def test_any_depth_of_lists_is_refused() -> None:
    """Showing them takes more of the stack than reading them did."""
    for depth in range(700, 1100):
        text = f'{{"cniVersion": "1.0.0", "name": "pods", "mtu": {"[" * depth}{"]" * depth}}}'
        with pytest.raises(CniError):
            cnispec.parse(call(stdin=text.encode()))


@pytest.mark.parametrize(
    ("args", "config", "source"),
    [
        ("MAC=1A:2b:3c:4d:5e:6f", {}, "CNI_ARGS MAC"),
        ("MAC=", {"runtimeConfig": {"mac": "1a-2b-3c-4d-5e-6f"}}, "runtimeConfig.mac"),
        ("", {"runtimeConfig": {"mac": ""}, "args": {"cni": {"mac": "1a:2b:3c:4d:5e:6f"}}}, "args.cni.mac"),
        ("MAC=1a:2b:3c:4d:5e:6f", {"runtimeConfig": {"mac": "1A:2B:3C:4D:5E:6F"}}, "CNI_ARGS MAC"),
    ],
)
def test_the_runtime_asks_for_one_mac(args: str, config: object, source: str) -> None:
    request = cnispec.parse(call({"CNI_ARGS": args}, config))
    assert (request.mac, request.mac_by) == ("1a:2b:3c:4d:5e:6f", source)


def test_a_del_does_not_mind_what_its_add_asked_for() -> None:
    asked = {"runtimeConfig": {"ips": 7, "mac": 7}, "mtu": "big", "ipv4_pools": "blue", "prevResult": 1, "args": 7}
    request = cnispec.parse(call({"CNI_COMMAND": "DEL", "CNI_ARGS": "novalue;IP=ten;MAC=ten;K8S_POD_NAME=a"}, asked))
    assert (request.address, request.mac, request.mtu, request.pools) == (None, "", 0, ())


@pytest.mark.parametrize(
    "env",
    [
        {"CNI_CONTAINERID": "a" * 4000},
        {"CNI_NETNS": "/run/netns/\udcff"},
        {"CNI_ARGS": "K8S_POD_NAMESPACE=a;K8S_POD_NAME=\udcff"},
        {"CNI_ARGS": f"K8S_POD_NAMESPACE=a;K8S_POD_NAME={'a' * 254}"},
        {"CNI_ARGS": "K8S_POD_NAME=a\nb"},
        {"CNI_UNHEARD": "\udcff"},
    ],
)
def test_a_del_of_what_no_add_would_have_taken_is_carried_out(env: dict[str, str]) -> None:
    with pytest.raises(CniError):
        cnispec.parse(call(env))
    request = cnispec.parse(call({**env, "CNI_COMMAND": "DEL"}))
    assert request.attachment.container == env.get("CNI_CONTAINERID", call({}).env["CNI_CONTAINERID"])


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_a_gc_is_told_who_lives(key: str) -> None:
    listed = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "net1", "more": 1}]
    assert gc({key: listed}).valid == {Attachment("c1", "eth0"), Attachment("c2", "net1")}
    assert gc({key: []}).valid == frozenset()
    assert gc({key: None}).valid is None
    assert gc({"cni.dev/valid-attachments": None, key: listed}).valid == gc({key: listed}).valid
    assert gc({}).valid is None


@pytest.mark.parametrize(
    "listed",
    ["", {}, 0, False, "c1", {"containerID": "c1", "ifname": "eth0"}, [None], ["c1"], [{}], [{"containerID": "c1"}],
     [{"containerID": 1, "ifname": "eth0"}], [{"containerID": "c1", "ifname": None}], [[]]],
)  # fmt: skip
def test_what_is_no_list_of_attachments_is_not_taken_for_an_empty_one(listed: object) -> None:
    with pytest.raises(CniError, match=r"cni\.dev/valid-attachments = .*: the container runtime has to pass") as caught:
        gc({"cni.dev/valid-attachments": listed})
    assert caught.value.code == 7


def gc(config: dict[str, object]) -> CniRequest:
    return cnispec.parse(
        CniCall({"CNI_COMMAND": "GC"}, json.dumps({**CONFIG, "cniVersion": "1.1.0", **config}).encode())
    )


def test_pools_where_calicos_configuration_has_them() -> None:
    assert cnispec.parse(call(config={"ipam": {"type": "calico-ipam", "ipv4_pools": ["blue"]}})).pools == ("blue",)


CALICOS: dict[str, object] = {
    "log_level": "info",
    "log_file_path": "/var/log/calico/cni/cni.log",
    "datastore_type": "kubernetes",
    "nodename": "node1",
    "mtu": 0,
    "ipam": {"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "false"},
    "container_settings": {"allow_ip_forwarding": False},
    "policy": {"type": "k8s"},
    "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"},
    "policy_setup_timeout_seconds": 0,
    "endpoint_status_dir": "/var/run/calico/endpoint-status",
    "readiness_gates": [],
}
"""What Calico's own manifests and operator write."""


def test_calicos_own_configuration_is_taken() -> None:
    assert cnispec.parse(call(config=CALICOS)) == cnispec.parse(call())
    assert cnispec.parse(call(config={"ipam": {"type": "bgpnet-ipam"}})) == cnispec.parse(call())


@pytest.mark.parametrize("command", ["DEL", "CHECK", "GC"])
def test_what_no_add_would_have_taken_hinders_nothing_else(command: str) -> None:
    config = {"ipam": {"type": "host-local"}, "prevResult": {"ips": []}}
    assert cnispec.parse(call({"CNI_COMMAND": command}, config)).command == command


def test_an_add_without_an_orchestrator_has_no_pod() -> None:
    assert cnispec.parse(call({"CNI_ARGS": ""})).pod == ""


def test_a_del_needs_no_namespace() -> None:
    assert cnispec.parse(call({"CNI_COMMAND": "DEL", "CNI_NETNS": ""})).netns == ""


@pytest.mark.parametrize(
    ("env", "config", "stdin", "code", "names"),
    [
        ({}, None, b"{", 6, "not JSON"),
        ({}, None, b"[]", 6, "not a JSON object"),
        ({}, None, b"", 6, "not JSON"),
        ({}, {"cniVersion": "9.9.9"}, None, 1, "9.9.9"),
        ({}, {"cniVersion": "0.2.0"}, None, 1, "0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        ({"CNI_COMMAND": ""}, None, None, 4, "CNI_COMMAND"),
        ({"CNI_COMMAND": "FLY"}, None, None, 4, "FLY"),
        ({"CNI_CONTAINERID": ""}, None, None, 4, "CNI_CONTAINERID"),
        ({"CNI_CONTAINERID": "../x"}, None, None, 4, "CNI_CONTAINERID"),
        ({"CNI_CONTAINERID": "a" * 129}, None, None, 4, "CNI_CONTAINERID"),
        ({"CNI_IFNAME": ""}, None, None, 4, "CNI_IFNAME"),
        ({"CNI_IFNAME": "a/b"}, None, None, 4, "CNI_IFNAME"),
        ({"CNI_IFNAME": "a" * 16}, None, None, 4, "CNI_IFNAME"),
        ({"CNI_IFNAME": ".."}, None, None, 4, "CNI_IFNAME"),
        ({"CNI_NETNS": ""}, None, None, 4, "CNI_NETNS"),
        ({"CNI_NETNS": "/run/netns/\udcff"}, None, None, 4, "CNI_NETNS"),
        ({"CNI_IFNAME": "eth\udc80"}, None, None, 4, "CNI_IFNAME"),
        ({}, None, b"[" * 100_000, 6, "not JSON"),
        ({"CNI_ARGS": "novalue"}, None, None, 4, "CNI_ARGS"),
        (
            {"CNI_ARGS": f"K8S_POD_NAME={'a' * 254}"},
            None,
            None,
            4,
            "CNI_ARGS K8S_POD_NAME = 'aaaaaaaaaaaaaaaaaaaa'… of",
        ),
        ({"CNI_ARGS": f"K8S_POD_NAMESPACE={'a' * 254}"}, None, None, 4, "of 254 characters: use at most 253"),
        ({"CNI_ARGS": "K8S_POD_NAME=a\x1b[2J"}, None, None, 4, r"CNI_ARGS K8S_POD_NAME = 'a\x1b[2J': use no control"),
        ({"CNI_IFNAME": "e\x1b[2J"}, None, None, 4, r"CNI_IFNAME='e\x1b[2J': use no control characters"),
        ({"CNI_IFNAME": "e\u202ex"}, None, None, 4, r"CNI_IFNAME='e\u202ex': use no control characters"),
        ({"CNI_COMMAND": "DEL", "CNI_IFNAME": "eth\udc80"}, None, None, 4, "CNI_IFNAME"),
        ({}, {"name": ""}, None, 7, "name"),
        ({}, {"name": "a b"}, None, 7, "name"),
        ({}, {"mtu": "big"}, None, 7, "mtu"),
        ({}, {"mtu": True}, None, 7, "mtu = true: write 0 for the node's, or 68 to 65535"),
        ({}, {"mtu": 67}, None, 7, "mtu"),
        ({}, {"ipv4_pools": "blue"}, None, 7, "ipv4_pools"),
        ({}, {"ipv4_pools": [1]}, None, 7, "ipv4_pools"),
        ({}, {"ipam": {"ipv4_pools": "blue"}}, None, 7, 'ipam.ipv4_pools = "blue"'),
        ({}, {"ipv4_pools": ["a"], "ipam": {"ipv4_pools": ["b"]}}, None, 7, 'ipam.ipv4_pools = ["b"] differ'),
        ({"CNI_ARGS": "IP=ten"}, None, None, 4, "CNI_ARGS IP = 'ten' is not an IP address"),
        ({"CNI_ARGS": "IP=10.0.0.5,"}, None, None, 4, "CNI_ARGS IP = '' is not an IP address"),
        ({"CNI_ARGS": "IP=10.0.0.5/99"}, None, None, 4, "CNI_ARGS IP = '10.0.0.5/99': a prefix length is 0 to 32"),
        ({"CNI_ARGS": "IP=fd00::5"}, None, None, 4, "CNI_ARGS IP = 'fd00::5' is an IPv6 address"),
        ({"CNI_ARGS": "IP=10.0.0.5,10.0.0.6"}, None, None, 4, "names 2 addresses"),
        ({"CNI_ARGS": "MAC=mine"}, None, None, 4, "CNI_ARGS MAC = 'mine' is no MAC that a pod's interface can have"),
        ({}, {"runtimeConfig": {"mac": "33:33:00:00:00:01"}}, None, 7, "runtimeConfig.mac = '33:33:00:00:00:01' is no"),
        ({}, {"args": {"cni": {"mac": 5}}}, None, 7, "args.cni.mac = 5: write a text such as 0a:58:0a:00:00:05"),
        (
            {"CNI_ARGS": "MAC=0a:58:00:00:00:01"},
            {"runtimeConfig": {"mac": "0a:58:00:00:00:02"}},
            None,
            7,
            "CNI_ARGS MAC = 0a:58:00:00:00:01 and runtimeConfig.mac = 0a:58:00:00:00:02: a pod's interface has one MAC",
        ),
        ({}, {"runtimeConfig": {"ips": "10.0.0.5"}}, None, 7, 'runtimeConfig.ips = "10.0.0.5": write a list'),
        ({}, {"runtimeConfig": {"ips": ["10.0.0.5", "10.0.0.6"]}}, None, 7, "runtimeConfig.ips = '10.0.0.5, 10.0.0.6'"),
        ({}, {"runtimeConfig": {"ips": [None, True]}}, None, 7, "runtimeConfig.ips = [null, true]: write a list"),
        # No caller in Go makes it of nothing, and the plugins static and host-local refuse it.
        ({}, {"runtimeConfig": {"ips": [""]}}, None, 7, "runtimeConfig.ips = '' is not an IP address"),
        ({}, {"runtimeConfig": {"ips": ["10.0.0.5/x"]}}, None, 7, "runtimeConfig.ips = '10.0.0.5/x': a prefix length"),
        ({}, {"runtimeConfig": ["10.0.0.5"]}, None, 7, 'runtimeConfig = ["10.0.0.5"]: write an object, or leave it'),
        ({}, {"args": "IP=10.0.0.5"}, None, 7, 'args = "IP=10.0.0.5": write an object, or leave it out'),
        ({}, {"args": {"cni": False}}, None, 7, "args.cni = false: write an object, or leave it out"),
        ({}, {"ipam": "calico-ipam"}, None, 7, 'ipam = "calico-ipam": write an object, or leave it out'),
        ({}, {"name": None}, None, 7, "name = null: a network's name is"),
        (
            {},
            {"ipam": {"type": "host-local"}},
            None,
            7,
            'ipam.type = "host-local": bgpnet gives addresses of its IPPools',
        ),
        (
            {},
            {"ipam": {"assign_ipv4": "false"}},
            None,
            7,
            'ipam.assign_ipv4 = "false": pods have IPv4 only; write "true"',
        ),
        ({}, {"ipam": {"assign_ipv6": True}}, None, 7, 'ipam.assign_ipv6 = true: pods have IPv4 only; write "false"'),
        (
            {},
            {"container_settings": {"allow_ip_forwarding": True}},
            None,
            7,
            "allow_ip_forwarding = true: bgpnet leaves",
        ),
        (
            {},
            {"dataplane_options": {"type": "grpc"}},
            None,
            7,
            'dataplane_options.type = "grpc": the kernel of the node',
        ),
        ({}, {"device_type": "netkit"}, None, 7, 'device_type = "netkit": a pod\'s link is a veth'),
        ({}, {"readiness_gates": ["http://a"]}, None, 7, 'readiness_gates = ["http://a"]: a pod waits for the agent'),
        (
            {"CNI_COMMAND": "STATUS"},
            {"ipam": {"type": "host-local"}},
            None,
            7,
            'ipam.type = "host-local": bgpnet gives',
        ),
        ({}, {"cniVersion": None}, None, 1, 'cniVersion "0.2.0" is not supported'),
        (
            {},
            {"runtimeConfig": {ANNOTATIONS: {"a": None}}},
            None,
            7,
            f'runtimeConfig {ANNOTATIONS} = {{"a": null}}: the',
        ),
        ({}, {"args": {"cni": {"ips": ["fd00::5"]}}}, None, 7, "args.cni.ips = 'fd00::5' is an IPv6 address"),
        (
            {"CNI_ARGS": "IP=10.0.0.5"},
            {"runtimeConfig": {"ips": ["10.0.0.6/24"]}},
            None,
            7,
            "CNI_ARGS IP = 10.0.0.5 and runtimeConfig.ips = 10.0.0.6: a pod's interface has one address",
        ),
    ],
)
def test_refusals(env: dict[str, str], config: object, stdin: bytes | None, code: int, names: str) -> None:
    with pytest.raises(CniError) as caught:
        cnispec.parse(call(env, config, stdin))
    assert caught.value.code == code
    assert names in caught.value.message


WIRED = Wired("cali1", "eth0", "/run/netns/p1", "0a:58:0a:f4:00:05", 1480, ip.address("10.244.0.5"))


def test_a_result_of_1_0_0() -> None:
    assert json.loads(cnispec.result("1.0.0", WIRED)) == {
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": "cali1", "mac": "ee:ee:ee:ee:ee:ee"},
            {"name": "eth0", "mac": "0a:58:0a:f4:00:05", "sandbox": "/run/netns/p1"},
        ],
        "ips": [{"interface": 1, "address": "10.244.0.5/32"}],
        "routes": [],
        "dns": {},
    }


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0"])
def test_older_results_say_the_family(version: str) -> None:
    result = json.loads(cnispec.result(version, WIRED))
    assert result["cniVersion"] == version
    assert result["ips"] == [{"version": "4", "interface": 1, "address": "10.244.0.5/32"}]


@pytest.mark.parametrize(
    ("stdin", "version"),
    [
        (b"{", "1.0.0"),
        (b'{"cniVersion": "0.4.0"}', "0.4.0"),
        (b'{"cniVersion": "7"}', "1.0.0"),
        (b'{"cniVersion": 1}', "1.0.0"),
    ],
)
def test_errors_are_in_the_callers_version_where_it_has_one(stdin: bytes, version: str) -> None:
    assert cnispec.version_of(stdin) == version


def test_an_error_object() -> None:
    assert json.loads(cnispec.error("1.0.0", CniError(11, "try again", "because"))) == {
        "cniVersion": "1.0.0",
        "code": 11,
        "msg": "try again",
        "details": "because",
    }
