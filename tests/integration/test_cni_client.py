"""The CNI plugin, both programs by one suite, against a stub agent: what is passed, and every refusal.

Hostile agents are in test_cni_hostile.py.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from cni_stub import (
    OK,
    RESULT,
    answering,
    compiled,
    config,
    environment,
    execute,
    frozen,
    shown,
    silent,
    stub,
)

from bgpnet import wire

VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
COMMANDS = "ADD, DEL, CHECK, GC, STATUS, VERSION"


@pytest.fixture(scope="module", params=["c", "python"])
def plugin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("cni")
    return frozen(folder) if request.param == "python" else compiled(folder, "-O2", "-static")


# --- what is passed, and what comes back


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK"])
def test_the_agent_gets_environment_input_and_namespace_exactly(
    plugin: list[str], tmp_path: Path, command: str
) -> None:
    env = environment(command, args=b"K8S_POD_NAME=\xff\xfe;X=a=b", netns="/proc/self/ns/net")
    text = config(tmp_path / "agent.sock", name="\u00e9", prevResult={"deep": [[{}], '\\"\ud83d\ude00']}) + b" \n"
    with stub(tmp_path / "agent.sock", answering(OK)) as agent:
        done = execute(plugin, env | {"PATH": "/bin", "NOT_CNI_ARGS": "x"}, text)
    assert (done.code, done.value, done.err) == (0, RESULT, b"")
    (seen,) = agent.seen
    assert seen.kind is wire.Kind.CNI
    assert seen.call.stdin == text
    assert {name: os.fsencode(value) for name, value in seen.call.env.items()} == {
        name: os.fsencode(value) for name, value in env.items()
    }
    assert seen.inode == os.stat("/proc/self/ns/net").st_ino


@pytest.mark.root
def test_the_descriptor_is_the_pods_namespace_and_not_ours(plugin: list[str], tmp_path: Path) -> None:
    with subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; cat"], stdin=-1, stdout=-1) as pod:
        assert pod.stdout
        pod.stdout.readline()
        path = f"/proc/{pod.pid}/ns/net"
        with stub(tmp_path / "agent.sock", answering(OK)) as agent:
            done = execute(plugin, environment("ADD", netns=path), config(tmp_path / "agent.sock"))
        inode = os.stat(path).st_ino
        pod.communicate()
    assert done.code == 0
    assert agent.seen[0].inode == inode != os.stat("/proc/self/ns/net").st_ino


def test_an_error_of_the_agent_is_passed_on(plugin: list[str], tmp_path: Path) -> None:
    body = b'{"cniVersion":"1.0.0","code":101,"msg":"no address"}'
    with stub(tmp_path / "agent.sock", answering(wire.answer(1, body))):
        done = execute(plugin, environment("ADD"), config(tmp_path / "agent.sock"))
    assert (done.code, done.out, done.err) == (1, body, b"")


def test_a_del_has_nothing_to_say(plugin: list[str], tmp_path: Path) -> None:
    with stub(tmp_path / "agent.sock", answering(wire.answer(0, b""))):
        done = execute(plugin, environment("DEL"), config(tmp_path / "agent.sock"))
    assert (done.code, done.out, done.err) == (0, b"", b"")


@pytest.mark.parametrize("netns", [None, "", "/nowhere/at/all", "/dev/null", "/"])
def test_a_del_without_a_namespace_is_sent_without_one(plugin: list[str], tmp_path: Path, netns: str | None) -> None:
    with stub(tmp_path / "agent.sock", answering(wire.answer(0, b""))) as agent:
        done = execute(plugin, environment("DEL", netns=netns), config(tmp_path / "agent.sock"))
    assert done.code == 0
    assert [(seen.inode, seen.call.env.get("CNI_NETNS")) for seen in agent.seen] == [(None, netns)]


def test_the_largest_request_and_the_largest_answer_pass(plugin: list[str], tmp_path: Path) -> None:
    env = environment("ADD")
    room = wire.LIMIT - len(wire.pack_cni(wire.CniCall({k: str(v) for k, v in env.items()}, b"")))
    text = config(tmp_path / "agent.sock").ljust(room)
    largest = json.dumps(RESULT).encode().rjust(wire.LIMIT)
    with stub(tmp_path / "agent.sock", answering(wire.answer(0, largest))) as agent:
        done = execute(plugin, env, text)
        assert (done.code, done.out == largest, agent.seen[0].call.stdin == text) == (0, True, True)
        assert execute(plugin, env, text + b" ").error == (
            7,
            "standard input is longer than the 1048576 bytes that are taken, with CNI_ variables: shorten it",
        )


@pytest.mark.parametrize("more", [0, 1])
def test_the_largest_environment_passes(plugin: list[str], tmp_path: Path, more: int) -> None:
    env = environment("ADD", **{f"filler{number}": "x" * 120_000 for number in range(8)})
    room = wire.LIMIT - len(wire.pack_cni(wire.CniCall({name: str(value) for name, value in env.items()}, b"")))
    env["CNI_ARGS"] = "x" * (room - len("CNI_ARGS=") - 1 + more)
    code, message = execute(plugin, env, b"").error
    assert (code, message.split(":")[0]) == (
        (4, "the CNI_ variables are longer than the 1048576 bytes that are taken")
        if more
        else (6, "standard input is empty")
    )


# --- VERSION


@pytest.mark.parametrize(
    ("text", "version"),
    [(f'{{"cniVersion":"{version}"}}', version) for version in VERSIONS]
    + [(text, "1.0.0") for text in ('{"cniVersion":"1.2.0"}', '{"cniVersion":1}', "{}", "", "nonsense", "[" * 9999)],
)
def test_version_echoes_what_it_supports(plugin: list[str], text: str, version: str) -> None:
    done = execute(plugin, {"CNI_COMMAND": "VERSION"}, text.encode())
    assert (done.code, done.value, done.err) == (0, {"cniVersion": version, "supportedVersions": VERSIONS}, b"")


# --- refusals


@pytest.mark.parametrize(
    ("command", "changes", "message"),
    [
        ("", {}, "CNI_COMMAND is not set: the container runtime must set it to one of " + COMMANDS),
        ("add", {}, f"CNI_COMMAND = add: unknown; use one of {COMMANDS}"),
        ('"\\\n\x7f', {}, f'CNI_COMMAND = "\\\n\x7f: unknown; use one of {COMMANDS}'),
        ("x" * 101, {}, f"CNI_COMMAND = {'x' * 100}...: unknown; use one of {COMMANDS}"),
        ("ADD", {"netns": None}, "CNI_NETNS: not set; the container runtime must set it for ADD"),
        ("CHECK", {"netns": ""}, "CNI_NETNS: not set; the container runtime must set it for CHECK"),
        ("DEL", {"ifname": None}, "CNI_IFNAME: not set; the container runtime must set it for DEL"),
        (
            "ADD",
            {"netns": None, "ifname": None, "containerid": None},
            "CNI_CONTAINERID, CNI_IFNAME, CNI_NETNS: not set; the container runtime must set it for ADD",
        ),
        (
            "ADD",
            {"netns": "/no/such"},
            "CNI_NETNS = /no/such: No such file or directory; the container runtime must make it before ADD",
        ),
        (
            "CHECK",
            {"netns": "/dev/null"},
            "CNI_NETNS = /dev/null: not a network namespace; the container runtime must make it before CHECK",
        ),
    ],
)
def test_a_wrong_environment_is_refused_by_name(
    plugin: list[str], tmp_path: Path, command: str, changes: dict[str, str | None], message: str
) -> None:
    done = execute(plugin, environment(command, **changes), config(tmp_path / "agent.sock"))
    assert done.error == (4, message)


@pytest.mark.parametrize("name", ["-a", ".a", "_a", "a/b", "a b", "a\u00e9", b"a\xff", "../../etc/passwd", "a\n"])
def test_a_container_id_is_held_to_the_specification(plugin: list[str], name: str | bytes) -> None:
    code, message = execute(plugin, environment("DEL", containerid=name), b"").error
    shown = os.fsencode(name).decode("utf-8", "replace")
    assert (code, message) == (
        4,
        f"CNI_CONTAINERID = {shown}: use letters, digits, `_`, `.` and `-`, with a letter or a digit first",
    )


@pytest.mark.parametrize(
    "name", ["a" * 16, ".", "..", "a/b", "a:b", "a b", "a\tb", "eth%d", b"a\xff", "\u00e0", "\u20ac" * 6]
)
def test_an_interface_name_is_held_to_the_kernel(plugin: list[str], name: str | bytes) -> None:
    code, message = execute(plugin, environment("DEL", ifname=name), b"").error
    assert code == 4
    assert message.startswith(f"CNI_IFNAME = {os.fsencode(name).decode('utf-8', 'replace')}: use 1 to 15 bytes")


@pytest.mark.parametrize("name", ["e", "a" * 15, "eth0.100", "...", "\u20ac" * 5, 'q"\\', "a\x01"])
def test_an_odd_interface_name_is_passed(plugin: list[str], tmp_path: Path, name: str) -> None:
    with stub(tmp_path / "agent.sock", answering(OK)) as agent:
        assert execute(plugin, environment("ADD", ifname=name), config(tmp_path / "agent.sock")).code == 0
    assert agent.seen[0].call.env["CNI_IFNAME"] == name


BAD_JSON = [b"nonsense", b"[]", b'"x"', b"1", b"{", b"{}x", b"{} {}", b'{"a":1,}', b'{"a" 1}', b"{'a':1}", b'{"a":01}',
            b'{"a":1.}', b'{"a":.5}', b'{"a":+1}', b'{"a":1e}', b'{"a":-}', b'{"a":NaN}', b'{"a":-Infinity}',
            b'{"a":tru}',
            b'{"a":"\x01"}', b'{"a":"\xff"}', b'{"a":"\xc0\x80"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xf4\x90\x80\x80"}',
            b'{"a":"\\x"}', b'{"a":"\\u12g4"}', b'{"a":"\\', b'{"a":"\\u12', b'{"a":"', b'{"a":[1 2]}', b'{"a":[1,]}',
            b'{"a":[1}', b'{"a":{]', b"\xef\xbb\xbf{}", b"\0{}", b"{}\0", b'{1:2}',
            b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", b'{"a":' + b"[" * 100_000, b'{"a":' * 100_000]  # fmt: skip


@pytest.mark.parametrize("text", BAD_JSON, ids=[repr(text[:16]) for text in BAD_JSON])
def test_what_is_not_a_json_object_is_refused(plugin: list[str], text: bytes) -> None:
    assert execute(plugin, environment("ADD"), text).error == (
        6,
        "standard input is not a JSON object: "
        "the container runtime must write the network configuration to it, and close it",
    )


def test_an_empty_input_is_refused(plugin: list[str]) -> None:
    code, message = execute(plugin, environment("ADD"), b"").error
    assert (code, message.split(":")[0]) == (6, "standard input is empty")


GOOD_JSON = ["{}", '{"b":[]}', '{"b":{}}', '{"b":[{},[],"",0,-0.5e+10,true,false,null]}', '{"\\u0000":"\\ud800\\"\\/"}',
             '{"b":' + "[" * 499 + "]" * 499 + "}", '{ "b" : [ 1 , 2 ] }\r\n\t ', '{"a":"\u20ac\U0001f600\x7f"}',
             '{"b":' + "9" * 5000 + "}", '{"b":{"socket":1,"timeout":"x","cniVersion":[]}}']  # fmt: skip


@pytest.mark.parametrize("inner", GOOD_JSON, ids=[text[:16] for text in GOOD_JSON])
def test_what_is_json_is_passed(plugin: list[str], tmp_path: Path, inner: str) -> None:
    ours = config(tmp_path / "agent.sock").decode()[1:]
    text = inner.replace("{", "{" + ours[:-1] + ("" if inner.strip() == "{}" else ","), 1).encode()
    with stub(tmp_path / "agent.sock", answering(OK)) as agent:
        assert execute(plugin, environment("ADD"), text).code == 0
    assert agent.seen[0].call.stdin == text


@pytest.mark.parametrize(
    ("command", "text", "code", "message"),
    [
        ("ADD", "{}", 1, "cniVersion is not set in the network configuration: use one of 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        ("DEL", '{"cniVersion":""}', 1, "cniVersion is not set in the network configuration: use one of 0.3.1, 0.4.0"),
        (
            "ADD",
            '{"cniVersion":"2.0.0"}',
            1,
            "cniVersion = 2.0.0: not supported; use one of 0.3.1, 0.4.0, 1.0.0, 1.1.0",
        ),
        ("ADD", '{"cniVersion":1.0}', 7, "cniVersion is not a string in the network configuration: use one of "),
        ("DEL", '{"cniVersion":"1.0.0\\u0000"}', 1, "cniVersion = 1.0.0: not supported; use one of "),
        ("CHECK", '{"cniVersion":"0.3.1"}', 1, "cniVersion = 0.3.1: has no CHECK; use 0.4.0 or later"),
        ("GC", '{"cniVersion":"1.0.0"}', 1, "cniVersion = 1.0.0: has no GC; use 1.1.0 or later"),
        ("STATUS", '{"cniVersion":"0.3.1"}', 1, "cniVersion = 0.3.1: has no STATUS; use 1.1.0 or later"),
        ("ADD", '{"cniVersion":"1.0.0","socket":"run/x"}', 7, "socket = run/x: use the absolute path of the agent's"),
        ("ADD", '{"cniVersion":"1.0.0","socket":7}', 7, "socket = 7: use the absolute path"),
        ("ADD", '{"cniVersion":"1.0.0","socket":"/a\\u0000"}', 7, "socket = /a: use the absolute path"),
        ("ADD", '{"cniVersion":"1.0.0","socket":"/' + "a" * 107 + '"}', 7, "socket = /aaaaaa"),
        ("ADD", '{"cniVersion":"1.0.0","timeout":0}', 7, "timeout = 0: use a number of seconds above 0 and up to 3600"),
        ("ADD", '{"cniVersion":"1.0.0","timeout":1e999}', 7, "timeout = 1e999: use a number"),
        ("ADD", '{"cniVersion":"1.0.0","timeout":"5"}', 7, "timeout = 5: use a number"),
        ("ADD", '{"cniVersion":"1.0.0","timeout":true}', 7, "timeout = : use a number"),
        ("ADD", '{"cniVersion":"1.0.0","tim\\u0065out":-1}', 7, "timeout = -1: use a number"),
        ("ADD", '{"cniVersion":"1.0.0","timeout":5,"timeout":-2}', 7, "timeout = -2: use a number"),
    ],
)
def test_a_wrong_configuration_is_refused_by_key(
    plugin: list[str], command: str, text: str, code: int, message: str
) -> None:
    got, said = execute(plugin, environment(command), text.encode()).error
    assert (got, said[: len(message)]) == (code, message)


@pytest.mark.parametrize("command", ["GC", "STATUS"])
def test_what_is_about_no_container_needs_none(plugin: list[str], tmp_path: Path, command: str) -> None:
    text = config(tmp_path / "agent.sock", cniVersion="1.1.0")
    with stub(tmp_path / "agent.sock", answering(wire.answer(0, b""))) as agent:
        done = execute(plugin, {"CNI_COMMAND": command, "CNI_PATH": "/opt/cni/bin"}, text)
    assert (done.code, done.out, done.err) == (0, b"", b"")
    (seen,) = agent.seen
    assert (seen.call.env["CNI_COMMAND"], seen.call.stdin, seen.inode) == (command, text, None)


def test_status_without_an_agent_says_that_the_plugin_is_not_available(plugin: list[str], tmp_path: Path) -> None:
    text = config(tmp_path / "agent.sock", cniVersion="1.1.0")
    code, message = execute(plugin, {"CNI_COMMAND": "STATUS"}, text).error
    assert (code, "no agent answers (No such file or directory); start it with" in message) == (50, True)


def test_status_of_a_silent_agent_is_not_available(plugin: list[str], tmp_path: Path) -> None:
    text = config(tmp_path / "agent.sock", cniVersion="1.1.0", timeout=0.5)
    with stub(tmp_path / "agent.sock", silent):
        code, message = execute(plugin, {"CNI_COMMAND": "STATUS"}, text).error
    assert (code, "the agent did not answer within 0.5 s" in message) == (50, True)


def test_gc_without_an_agent_is_to_be_tried_again(plugin: list[str], tmp_path: Path) -> None:
    assert execute(plugin, {"CNI_COMMAND": "GC"}, config(tmp_path / "agent.sock", cniVersion="1.1.0")).error[0] == 11


def test_an_error_carries_the_callers_version(plugin: list[str], tmp_path: Path) -> None:
    done = execute(plugin, environment("ADD"), config(tmp_path / "agent.sock", cniVersion="0.4.0"))
    assert done.value["cniVersion"] == "0.4.0"


def test_a_closed_input_is_an_error_of_input(plugin: list[str]) -> None:
    ran = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *plugin], env=environment("ADD"), capture_output=True)
    assert (ran.returncode, json.loads(ran.stdout)["code"]) == (1, 5)
    assert b"(Bad file descriptor)" in ran.stdout


# --- an agent that is not there


@pytest.mark.parametrize("command", ["ADD", "CHECK"])
def test_without_an_agent_try_again_later(plugin: list[str], tmp_path: Path, command: str) -> None:
    path = tmp_path / "run" / "agent.sock"
    assert execute(plugin, environment(command), config(path)).error == (
        11,
        f"socket = {shown(path)}: no agent answers (No such file or directory); "
        "start it with `bgpnet agent`, then try again",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_del_without_an_agent_leaves_a_tombstone(plugin: list[str], tmp_path: Path) -> None:
    path = tmp_path / "run" / "deeper" / "agent.sock"
    env = environment("DEL", netns="/gone", args="A=1")
    done = execute(plugin, env, config(path))
    assert (done.code, done.out, done.err) == (0, b"", b"")
    folder = path.parent / "tombstones"
    assert [file.name for file in folder.iterdir()] == ["c0ffee:eth0"]
    call = wire.unpack_cni((folder / "c0ffee:eth0").read_bytes())
    assert (call.env, call.stdin) == (env, config(path))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "c0ffee:eth0").stat().st_mode) == 0o600
    assert execute(plugin, env, config(path)).code == 0


def test_names_with_dots_have_tombstones_of_their_own(plugin: list[str], tmp_path: Path) -> None:
    for container, ifname in (("a.b", "c"), ("a", "b.c")):
        env = environment("DEL", containerid=container, ifname=ifname)
        assert execute(plugin, env, config(tmp_path / "agent.sock")).code == 0
    assert sorted(one.name for one in (tmp_path / "tombstones").iterdir()) == ["a.b:c", "a:b.c"]


def test_a_socket_that_nobody_holds_is_an_absent_agent(plugin: list[str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(tmp_path / "agent.sock"))
    assert execute(plugin, environment("DEL"), config(tmp_path / "agent.sock")).code == 0
    assert (tmp_path / "tombstones" / "c0ffee:eth0").exists()
    _, message = execute(plugin, environment("ADD"), config(tmp_path / "agent.sock")).error
    assert "no agent answers (Connection refused)" in message


@pytest.mark.parametrize("obstacle", ["file", "name", "limit"])
def test_a_tombstone_that_cannot_be_written_is_an_error(plugin: list[str], tmp_path: Path, obstacle: str) -> None:
    env = environment("DEL", containerid="c" * 300 if obstacle == "name" else "c0ffee")
    if obstacle == "file":
        (tmp_path / "tombstones").write_text("in the way")
    limited = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *plugin]  # by itself it sends a signal, which ends a program
    code, message = execute(limited if obstacle == "limit" else plugin, env, config(tmp_path / "agent.sock")).error
    reason = {"file": "Not a directory", "name": "File name too long", "limit": "File too large"}[obstacle]
    assert (code, message.split(": ", 1)[1]) == (
        11,
        f"no agent answers, and no tombstone can be written beside it ({reason}); "
        "start it with `bgpnet agent`, then try again",
    )
    assert obstacle == "file" or list((tmp_path / "tombstones").iterdir()) == []
