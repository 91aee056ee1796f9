"""What a topology file may say: every refusal with its line, every inheritance as containerlab documents it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from bgpnet.errors import Invalid
from bgpnet.lab import keys, nodes
from bgpnet.lab.links import bring_up_lines, create_lines
from bgpnet.lab.parse import parse
from bgpnet.lab.topology import Bind, Topology, container_name

FILE = "/labs/one/t.clab.yml"


def read(text: str, env: dict[str, str] | None = None) -> Topology:
    return parse(textwrap.dedent(text), FILE, env or {})


def refusals(text: str) -> list[str]:
    with pytest.raises(Invalid) as caught:
        read(text)
    assert caught.value.subject == "t.clab.yml"
    return [str(finding) for finding in caught.value.findings]


def nodes_file(body: str) -> str:
    """A lab around the given lines, which begin at line 4."""
    return "name: l\ntopology:\n  nodes:\n" + textwrap.indent(textwrap.dedent(body), "    ")


def links_file(body: str, more: str = "") -> str:
    """Two nodes n1 and n2, and links whose lines begin at line 7."""
    head = "name: l\ntopology:\n  nodes:\n    n1: {kind: linux}\n    n2: {kind: linux}\n" + more
    return head + "  links:\n" + textwrap.indent(textwrap.dedent(body), "    ")


WHOLE = {
    "empty file": ("", "line 1: must be a mapping"),
    "a list": ("- a\n", "line 1: must be a mapping"),
    "a word": ("hello\n", "line 1 = 'hello': must be a mapping"),
    "not YAML": ("name: l\ntopology: [\n", "line 3: not YAML"),
    "a tab": ("name: l\n\ttopology:\n", "line 2: not YAML"),
    "no name": ("topology:\n  nodes:\n    n1: {kind: linux}\n", "line 1, name: missing"),
    "empty name": ("name:\ntopology:\n  nodes:\n    n1: {kind: linux}\n", "line 1, name: missing"),
    "bad name": ("name: a/b\ntopology:\n  nodes:\n    n1: {kind: linux}\n", "line 1, name = 'a/b': use at most 63"),
    "name is a list": ("name: [a]\ntopology:\n  nodes:\n    n1: {kind: linux}\n", "line 1, name: must be text"),
    "bad prefix": ("name: a\nprefix: a b\ntopology:\n  nodes:\n    n1: {kind: linux}\n", "line 2, prefix = 'a b'"),
    "no topology": ("name: l\n", "line 1, topology: missing"),
    "no nodes": ("name: l\ntopology:\n  links: []\n", "line 3, topology.nodes: missing"),
    "empty nodes": ("name: l\ntopology:\n  nodes:\n", "line 3, topology.nodes: missing"),
    "unknown top key": ("nmae: l\nname: l\ntopology:\n  nodes:\n    n1: {kind: linux}\n", "line 1, nmae: unknown key"),
    "unknown topology key": (
        "name: l\ntopology:\n  node: {}\n  nodes:\n    n1: {kind: linux}\n",
        "line 3, topology.node: unknown key: known are defaults, groups, kinds, links, nodes",
    ),
    "unknown kind in kinds": (
        "name: l\ntopology:\n  kinds:\n    nokia_srlinux: {}\n  nodes:\n    n1: {kind: linux}\n",
        "line 4, topology.kinds.nokia_srlinux = 'nokia_srlinux': unknown kind: known are bridge, linux",
    ),
    "unknown key in defaults": (
        "name: l\ntopology:\n  defaults:\n    kind: linux\n    colour: red\n  nodes:\n    n1:\n",
        "line 5, topology.defaults.colour: unknown key",
    ),
    "unknown group": (
        "name: l\ntopology:\n  groups:\n    a: {kind: linux}\n  nodes:\n    n1: {group: b, kind: linux}\n",
        "line 6, topology.nodes.n1.group = 'b': no such group: known are a",
    ),
    "node is a list": (
        "name: l\ntopology:\n  nodes:\n    n1: [kind]\n",
        "line 4, topology.nodes.n1: must be a mapping",
    ),
    "key twice": ("name: l\nname: m\ntopology:\n  nodes:\n    n1: {kind: linux}\n", "line 2, name: stands twice"),
}

NODES = {
    "no kind": ("n1:\n", "line 4, topology.nodes.n1.kind: missing"),
    "unknown kind": (
        "n1:\n  kind: frr\n",
        "line 5, topology.nodes.n1.kind = 'frr': unknown kind: known are bridge, linux",
    ),
    "unknown key": ("n1:\n  kind: linux\n  imgae: a\n", "line 6, topology.nodes.n1.imgae: unknown key: known are"),
    "key that is not built": (
        "n1:\n  kind: linux\n  startup-delay: 5\n",
        "line 6, topology.nodes.n1.startup-delay: containerlab knows it but this lab does not honour it: remove it",
    ),
    "bad node name": ("n/1: {kind: linux}\n", "line 4, topology.nodes.n/1: name a node by"),
    "node twice": ("n1: {kind: linux}\nn1: {kind: linux}\n", "line 5, topology.nodes.n1: stands twice"),
    "host network": (
        "n1:\n  kind: linux\n  network-mode: host\n",
        "line 6, topology.nodes.n1.network-mode = 'host': known are bridge, none",
    ),
    "another user": ("n1:\n  kind: linux\n  user: bob\n", "line 6, topology.nodes.n1.user = 'bob': known are 0, root"),
    "open quote in cmd": (
        "n1:\n  kind: linux\n  cmd: sh -c 'x\n",
        'line 6, topology.nodes.n1.cmd = "sh -c \'x": not a',
    ),
    "open quote in exec": (
        "n1:\n  kind: linux\n  exec:\n    - echo a\n    - echo 'b\n",
        'line 8, topology.nodes.n1.exec = "echo \'b": not a command line',
    ),
    "empty exec": ("n1:\n  kind: linux\n  exec:\n    - ''\n", "line 7, topology.nodes.n1.exec: an empty command"),
    "exec is text": ("n1:\n  kind: linux\n  exec: echo\n", "line 6, topology.nodes.n1.exec = 'echo': must be a list"),
    "exec of mappings": (
        "n1:\n  kind: linux\n  exec:\n    - a: b\n",
        "line 7, topology.nodes.n1.exec[0]: must be text",
    ),
    "relative bind target": (
        "n1:\n  kind: linux\n  binds:\n    - a:b\n",
        "line 7, topology.nodes.n1.binds = 'a:b': write source:/absolute/target",
    ),
    "bind out of the root": ("n1:\n  kind: linux\n  binds: ['a:/b/../../c']\n", "line 6, topology.nodes.n1.binds"),
    "bind over the root": (
        "n1:\n  kind: linux\n  binds: ['a:/']\n",
        "line 6, topology.nodes.n1.binds = 'a:/': nothing",
    ),
    "bind option": (
        "n1:\n  kind: linux\n  binds:\n    - a:/b:slow\n",
        "line 7, topology.nodes.n1.binds = 'a:/b:slow': known options are Z, ro, rw, z",
    ),
    "env is a list": ("n1:\n  kind: linux\n  env: [A=1]\n", "line 6, topology.nodes.n1.env: must be a mapping"),
    "env of lists": ("n1:\n  kind: linux\n  env:\n    A: [1]\n", "line 7, topology.nodes.n1.env.A: must be text"),
    "sysctl of the machine": (
        "n1:\n  kind: linux\n  sysctls:\n    net.ipv4.ip_forward: 1\n    kernel.panic: 1\n",
        "line 8, topology.nodes.n1.sysctls.kernel.panic = '1': only net.",
    ),
}

LINKS = {
    "unknown node": (
        "- endpoints: [n1:eth1, n3:eth1]\n",
        "line 7, topology.links[0].endpoints[1] = 'n3': no such node",
    ),
    "no interface": (
        "- endpoints: [n1, n2:eth1]\n",
        "line 7, topology.links[0].endpoints[0] = 'n1': write node:interface",
    ),
    "one endpoint": ("- endpoints: [n1:eth1]\n", "line 7, topology.links[0].endpoints: give two, not 1"),
    "no endpoints": ("- mtu: 1500\n", "line 7, topology.links[0].endpoints: missing"),
    "interface twice": (
        "- endpoints: [n1:eth1, n2:eth1]\n- endpoints: [n1:eth1, n2:eth2]\n",
        "line 8, topology.links[1].endpoints[0] = 'eth1': n1 has it already by line 7",
    ),
    "both ends the same": (
        "- endpoints: [n1:eth1, n1:eth1]\n",
        "line 7, topology.links[0].endpoints[1] = 'eth1': n1 has",
    ),
    "long interface": (
        "- endpoints: ['n1:abcdefghijklmnop', n2:eth1]\n",
        "line 7, topology.links[0].endpoints[0] = 'abcdefghijklmnop': an interface name has at most 15 characters",
    ),
    "interface with a slash": (
        "- endpoints: ['n1:e1/1', n2:eth1]\n",
        "line 7, topology.links[0].endpoints[0] = 'e1/1'",
    ),
    "special endpoint": (
        "- endpoints: [n1:eth1, host:x]\n",
        "line 7, topology.links[0].endpoints[1] = 'host:x': a host",
    ),
    "unknown type": ("- type: vxlan\n  endpoint: {}\n", "line 7, topology.links[0].type = 'vxlan': known are veth"),
    "unknown link key": (
        "- endpoints: [n1:eth1, n2:eth1]\n  speed: 1\n",
        "line 8, topology.links[0].speed: unknown key",
    ),
    "mtu too big": ("- endpoints: [n1:eth1, n2:eth1]\n  mtu: 70000\n", "line 8, topology.links[0].mtu = '70000': give"),
    "mtu in words": ("- endpoints: [n1:eth1, n2:eth1]\n  mtu: big\n", "line 8, topology.links[0].mtu = 'big': give"),
    "links is a mapping": ("a: b\n", "line 7, topology.links: must be a list"),
    "bad mac": (
        "- type: veth\n  endpoints:\n    - {node: n1, interface: e}\n    - {node: n2, interface: e, mac: '02:00'}\n",
        "line 10, topology.links[0].endpoints[1].mac = '02:00': write a MAC address",
    ),
    "multicast mac": (
        "- type: veth\n  endpoints:\n    - {node: n1, interface: e}\n"
        "    - {node: n2, interface: e, mac: '01:00:5e:00:00:01'}\n",
        "line 10, topology.links[0].endpoints[1].mac = '01:00:5e:00:00:01': a multicast MAC",
    ),
    "veth without interface": (
        "- type: veth\n  endpoints:\n    - {node: n1}\n    - {node: n2, interface: eth1}\n",
        "line 9, topology.links[0].endpoints[0].interface: missing",
    ),
    "veth endpoint key": (
        "- type: veth\n  endpoints:\n    - {node: n1, interface: e, name: x}\n    - {node: n2, interface: e}\n",
        "line 9, topology.links[0].endpoints[0].name: unknown key",
    ),
    "address without length": (
        "- endpoints: [n1:eth1, n2:eth1]\n  ipv4: [192.0.2.1, 192.0.2.2/24]\n",
        "line 8, topology.links.ipv4 = '192.0.2.1': write an ipv4 address with its prefix length",
    ),
    "address of the other family": (
        "- type: veth\n  endpoints:\n"
        "    - {node: n1, interface: e, ipv6: 192.0.2.1/24}\n    - {node: n2, interface: e}\n",
        "line 9, topology.links[0].endpoints[0].ipv6 = '192.0.2.1/24': write an ipv6 address",
    ),
}


@pytest.mark.parametrize("case", WHOLE)
def test_a_wrong_file_is_refused_by_line(case: str) -> None:
    text, expected = WHOLE[case]
    assert any(line.startswith(expected) for line in refusals(text)), refusals(text)


@pytest.mark.parametrize("case", NODES)
def test_a_wrong_node_is_refused_by_line(case: str) -> None:
    body, expected = NODES[case]
    found = refusals(nodes_file(body))
    assert len(found) == 1
    assert found[0].startswith(expected), found


@pytest.mark.parametrize("case", LINKS)
def test_a_wrong_link_is_refused_by_line(case: str) -> None:
    body, expected = LINKS[case]
    found = refusals(links_file(body))
    assert len(found) == 1
    assert found[0].startswith(expected), found


def test_eth0_belongs_to_the_management_network_unless_there_is_none() -> None:
    assert read(links_file("- endpoints: [n1:eth0, n2:eth1]\n")).links[0].a.interface == "eth0"
    text = "name: l\ntopology:\n  defaults: {kind: linux, network-mode: bridge}\n  nodes:\n    n1:\n    n2:\n"
    text += "  links:\n    - endpoints: [n1:eth0, n2:eth1]\n"
    assert refusals(text)[0].startswith("line 8, topology.links[0].endpoints[0] = 'eth0': containerlab keeps eth0")


def test_everything_wrong_is_said_at_once() -> None:
    found = refusals(links_file("- endpoints: [n1:eth1]\n- endpoints: [n9:eth1, n2:eth1]\n  mtu: 1\n"))
    assert [line.split(":")[0] for line in found] == [
        "line 7, topology.links[0].endpoints",
        "line 8, topology.links[1].endpoints[0] = 'n9'",
        "line 9, topology.links[1].mtu = '1'",
    ]


INHERITED = """
    name: l
    topology:
      defaults:
        kind: linux
        cmd: from defaults
        image: i0
        exec: [e0]
        binds: ["d:/d", "x:/same"]
        env: {A: defaults, B: defaults, C: defaults, D: defaults}
        labels: {tier: defaults}
      kinds:
        linux:
          image: i1
          exec: [e1]
          env: {B: kind, C: kind, D: kind}
          sysctls: {net.ipv4.ip_forward: 0, net.ipv4.conf.all.rp_filter: 2}
      groups:
        leaf:
          cmd: from group
          exec: [e2]
          env: {C: group, D: group}
          sysctls: {net.ipv4.ip_forward: 1}
      nodes:
        n1:
          group: leaf
          exec: [e3]
          binds: ["y:/same:ro"]
          env: {D: node}
        n2:
"""


def test_the_node_beats_the_group_beats_the_kind_beats_the_defaults() -> None:
    lab = read(INHERITED)
    n1, n2 = lab.nodes["n1"], lab.nodes["n2"]
    assert n1.env == {"A": "defaults", "B": "kind", "C": "group", "D": "node"}
    assert n2.env == {"A": "defaults", "B": "kind", "C": "kind", "D": "kind"}
    assert (n1.cmd, n2.cmd) == (("from", "group"), ("from", "defaults"))
    assert (n1.image, n2.image) == ("i1", "i1")
    assert (n1.exec, n2.exec) == (("e0", "e1", "e2", "e3"), ("e0", "e1"))
    assert n1.sysctls == {"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.rp_filter": "2"}
    assert n1.labels["tier"] == "defaults"


def test_binds_merge_by_target_and_begin_at_the_files_directory() -> None:
    assert read(INHERITED).nodes["n1"].binds == (
        Bind("/labs/one/d", "/d"),
        Bind("/labs/one/y", "/same", read_only=True),
    )


def test_the_kind_comes_from_the_group_when_the_node_has_none() -> None:
    lab = read("name: l\ntopology:\n  groups: {sw: {kind: bridge}}\n  nodes: {br0: {group: sw}, n1: {kind: linux}}\n")
    assert {name: node.kind for name, node in lab.nodes.items()} == {"br0": "bridge", "n1": "linux"}


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("clab", "clab-lab-n1"), ("__lab-name", "lab-n1"), ("", "n1"), ("mine", "mine-lab-n1")],
)
def test_container_names(prefix: str, expected: str) -> None:
    assert container_name(prefix, "lab", "n1") == expected
    lab = read(f"name: lab\nprefix: '{prefix}'\ntopology:\n  nodes:\n    n1: {{kind: linux}}\n")
    assert lab.nodes["n1"].container == expected


def test_the_name_without_a_prefix_key_begins_with_clab_and_labels_are_containerlabs() -> None:
    node = read(nodes_file("n1: {kind: linux, labels: {a: 1, clab-node-name: mine}}\n")).nodes["n1"]
    assert node.labels == {
        "a": "1",
        "containerlab": "l",
        "clab-node-name": "n1",
        "clab-node-longname": "clab-l-n1",
        "clab-node-kind": "linux",
        "clab-node-group": "",
        "clab-topo-file": FILE,
    }


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${HERE}", "value"),
        ("$HERE/x", "value/x"),
        ("${GONE:=fallback}", "fallback"),
        ("${GONE:-}", ""),
        ("${HERE:=fallback}", "value"),
        ("$GONE", "$GONE"),
        ("$$HERE", "$HERE"),
        ("a$", "a$"),
    ],
)
def test_variables_of_the_environment(written: str, expected: str) -> None:
    lab = read(nodes_file(f"n1: {{kind: linux, env: {{A: '{written}'}}}}\n"), {"HERE": "value"})
    assert lab.nodes["n1"].env["A"] == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("/abs", "/abs"),
        ("../up", "/labs/up"),
        ("~/.ssh", "/home/me/.ssh"),
        ("__clabNodeDir__/c", "/labs/one/clab-l/n1/c"),
        ("__clabDir__/c", "/labs/one/clab-l/c"),
    ],
)
def test_bind_sources(source: str, expected: str) -> None:
    lab = read(nodes_file(f"n1: {{kind: linux, binds: ['{source}:/t']}}\n"), {"HOME": "/home/me"})
    assert lab.nodes["n1"].binds == (Bind(expected, "/t"),)


def test_a_bind_of_a_target_alone_is_an_empty_directory() -> None:
    assert read(nodes_file("n1: {kind: linux, binds: [/data]}\n")).nodes["n1"].binds == (Bind("", "/data"),)


def test_entrypoint_and_cmd_are_one_command() -> None:
    node = read(nodes_file("n1: {kind: linux, entrypoint: sh -c, cmd: \"'echo a b'\"}\n")).nodes["n1"]
    assert node.process == ("sh", "-c", "echo a b")


def test_numbers_and_booleans_are_text_as_written() -> None:
    node = read(nodes_file("n1: {kind: linux, env: {A: 1, B: true, C: 1.50, D: , E: 0x10}}\n")).nodes["n1"]
    assert node.env == {"A": "1", "B": "true", "C": "1.50", "D": "", "E": "0x10"}


def test_anchors_and_merges() -> None:
    text = "name: l\ntopology:\n  defaults: &d {kind: linux, env: {A: 1}}\n  nodes:\n    n1: {<<: *d, cmd: x}\n"
    assert read(text).nodes["n1"].cmd == ("x",)


def test_what_only_a_container_engine_needs_is_accepted() -> None:
    lines = "\n".join(f"  {key}: x" for key in sorted(keys.NODE_ACCEPTED))
    assert read(nodes_file(f"n1:\n  kind: linux\n{lines}\n")).nodes["n1"].kind == "linux"


def test_every_key_is_used_accepted_or_refused_and_never_two_of_these() -> None:
    assert not keys.NODE_USED & keys.NODE_ACCEPTED
    assert not (keys.NODE_USED | keys.NODE_ACCEPTED) & keys.NODE_NOT_BUILT


def test_links_become_lines_for_ip() -> None:
    lab = read(
        links_file(
            """\
            - endpoints: [n1:eth1, n2:eth1]
              mtu: 1500
              ipv4: [192.0.2.1/24, 192.0.2.2/24]
            - type: veth
              endpoints:
                - {node: n1, interface: eth2, mac: "02:00:00:00:00:0A", ipv4: 198.51.100.1/31, ipv6: 2001:db8::1/64}
                - {node: br0, interface: port1}
            """,
            "    br0: {kind: bridge}\n",
        )
    )
    assert [line for link in lab.links for line in create_lines(link, {"n1": 11, "n2": 22})] == [
        "link add name eth1 mtu 1500 netns 11 type veth peer name eth1 mtu 1500 netns 22",
        "link add name eth2 mtu 9500 address 02:00:00:00:00:0a netns 11 type veth peer name port1 mtu 9500",
        "link set dev port1 master br0 up",
    ]
    assert bring_up_lines("n1", lab.links) == [
        "link set dev lo up",
        "address add 192.0.2.1/24 dev eth1",
        "link set dev eth1 up",
        "address add 198.51.100.1/31 dev eth2",
        "address add 2001:db8::1/64 dev eth2",
        "link set dev eth2 up",
    ]


OURS = sorted((Path(__file__).parents[2] / "containerlab").glob("*.clab.yml"))


@pytest.mark.parametrize("file", OURS, ids=lambda path: path.name)
def test_our_own_topologies_are_good(file: Path) -> None:
    lab = parse(file.read_text(), str(file), {})
    assert lab.nodes
    assert file.name == f"{lab.name}.clab.yml"


def test_there_are_topologies_of_ours() -> None:
    assert "mesh.clab.yml" in [file.name for file in OURS]


def test_where_no_lab_is_there_are_no_names_whoever_took_the_folder_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert nodes.names(tmp_path / "none") == nodes.names(tmp_path / "file") == []
    (tmp_path / "lab").mkdir()
    assert nodes.names(tmp_path) == ["lab"]
