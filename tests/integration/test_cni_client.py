"""The CNI plugin, both programs by one suite, against a stub agent: what is passed, every refusal, every hostility."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from cni_stub import (
    OK,
    REFUSAL,
    RESULT,
    TWIN,
    Behaviour,
    answering,
    compiled,
    config,
    deaf,
    endless,
    environment,
    execute,
    hesitating,
    refusing,
    silent,
    sipping,
    stub,
    trickling,
)

from bgpnet import wire
from bgpnet.client import AgentClient
from bgpnet.errors import AgentAway, BgpnetError

VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
COMMANDS = "ADD, DEL, CHECK, GC, STATUS, VERSION"


@pytest.fixture(scope="module", params=["c", "python"])
def plugin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if request.param == "python":
        return TWIN
    return compiled(tmp_path_factory.mktemp("cni"), "-O2", "-static")


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


def shown(path: Path) -> str:
    """A path as a message repeats it."""
    return str(path) if len(str(path)) <= 100 else str(path)[:100] + "..."


def test_a_del_without_an_agent_leaves_a_tombstone(plugin: list[str], tmp_path: Path) -> None:
    path = tmp_path / "run" / "deeper" / "agent.sock"
    env = environment("DEL", netns="/gone", args="A=1")
    done = execute(plugin, env, config(path))
    assert (done.code, done.out, done.err) == (0, b"", b"")
    folder = path.parent / "tombstones"
    assert [file.name for file in folder.iterdir()] == ["c0ffee.eth0"]
    call = wire.unpack_cni((folder / "c0ffee.eth0").read_bytes())
    assert (call.env, call.stdin) == (env, config(path))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "c0ffee.eth0").stat().st_mode) == 0o600
    assert execute(plugin, env, config(path)).code == 0


def test_a_socket_that_nobody_holds_is_an_absent_agent(plugin: list[str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(tmp_path / "agent.sock"))
    assert execute(plugin, environment("DEL"), config(tmp_path / "agent.sock")).code == 0
    assert (tmp_path / "tombstones" / "c0ffee.eth0").exists()
    _, message = execute(plugin, environment("ADD"), config(tmp_path / "agent.sock")).error
    assert "no agent answers (Connection refused)" in message


@pytest.mark.parametrize("obstacle", ["file", "name"])
def test_a_tombstone_that_cannot_be_written_is_an_error(plugin: list[str], tmp_path: Path, obstacle: str) -> None:
    env = environment("DEL", containerid="c" * 300 if obstacle == "name" else "c0ffee")
    if obstacle == "file":
        (tmp_path / "tombstones").write_text("in the way")
    code, message = execute(plugin, env, config(tmp_path / "agent.sock")).error
    reason = {"file": "Not a directory", "name": "File name too long"}[obstacle]
    assert (code, message.split(": ", 1)[1]) == (
        11,
        f"no agent answers, and no tombstone can be written beside it ({reason}); "
        "start it with `bgpnet agent`, then try again",
    )
    assert obstacle == "file" or list((tmp_path / "tombstones").iterdir()) == []


# --- an agent that is hostile


HANGING = "the agent did not answer within 0.3 s; see its log, then try again"
HUNG_UP = "the agent hung up before it had answered; see its log, then try again"
STRANGER = "what answered is not a bgpnet agent of this version; name its socket, or restart it"


@pytest.mark.parametrize(
    ("behave", "code", "message"),
    [
        (silent, 11, HANGING),
        (deaf, 11, HANGING),
        (sipping, 11, HANGING),
        (trickling, 11, HANGING),
        (lambda _peer, _agent: None, 11, HUNG_UP),
        (answering(b""), 11, HUNG_UP),
        (answering(b"\0\0\0"), 11, HUNG_UP),
        (answering(OK[:-1]), 11, HUNG_UP),
        (answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), 6, STRANGER),
        (answering(wire.ANSWER.pack(wire.LIMIT + 1, 0) + b" " * (wire.LIMIT + 1)), 6, STRANGER),
        (answering(wire.answer(2, b"{}")), 6, STRANGER),
        (answering(wire.answer(0, b"")), 6, STRANGER),
        (answering(wire.answer(1, b"")), 6, STRANGER),
        (answering(wire.answer(0, b"nonsense")), 6, STRANGER),
        (answering(wire.answer(1, os.urandom(wire.LIMIT))), 6, STRANGER),
        (answering(wire.answer(0, b'{"ips":[]}')), 6, STRANGER),
        (answering(wire.answer(0, b'{"cniVersion":1}')), 6, STRANGER),
        (answering(wire.answer(1, b'{"cniVersion":"1.0.0"}')), 6, STRANGER),
        (answering(wire.answer(1, b'{"cniVersion":"1.0.0","code":0,"msg":"x"}')), 6, STRANGER),
        (answering(wire.answer(1, b'{"cniVersion":"1.0.0","code":-7,"msg":"x"}')), 6, STRANGER),
        (answering(wire.answer(1, b'{"cniVersion":"1.0.0","code":1234567890,"msg":"x"}')), 6, STRANGER),
        (answering(wire.answer(1, b'{"cniVersion":"1.0.0","code":"7","msg":"x"}')), 6, STRANGER),
        (answering(wire.answer(1, b'{"cniVersion":"1.0.0","code":7,"msg":null}')), 6, STRANGER),
        (answering(wire.answer(1, b'{"code":7,"msg":"x"}')), 6, STRANGER),
    ],
    ids=["silent", "deaf", "sipping", "trickling", "closing", "nothing", "half a head", "half a body", "http", "huge",
         "status 2", "empty result", "empty error", "not json", "noise", "no version", "version 1", "no code", "code 0",
         "code -7", "code huge", "code as text", "no message", "error without version"],
)  # fmt: skip
def test_a_hostile_agent_gets_an_error_in_time(
    plugin: list[str], tmp_path: Path, behave: Behaviour, code: int, message: str
) -> None:
    seconds = 0.3 if message == HANGING else 30  # who is slow only because the machine is busy is waited for
    text = config(tmp_path / "agent.sock", timeout=seconds, filler="x" * 500_000)
    started = time.monotonic()
    with stub(tmp_path / "agent.sock", behave):
        done = execute(plugin, environment("ADD"), text)
        spent = time.monotonic() - started
    assert done.error == (code, f"socket = {shown(tmp_path / 'agent.sock')}: {message}")
    assert code == 6 or message != HANGING or spent >= 0.3
    assert spent < 20


@pytest.mark.parametrize("command", ["DEL", "CHECK", "GC", "STATUS"])
@pytest.mark.parametrize(
    ("behave", "code", "message"),
    [
        (silent, 11, HANGING),
        (deaf, 11, HANGING),
        (trickling, 11, HANGING),
        (lambda _peer, _agent: None, 11, HUNG_UP),
        (answering(OK[:-1]), 11, HUNG_UP),
        (answering(wire.answer(0, b"{}")), 6, STRANGER),
        (answering(wire.answer(1, b"")), 6, STRANGER),
        (answering(os.urandom(1 << 20)), 6, STRANGER),
    ],
    ids=["silent", "deaf", "trickling", "closing", "half a body", "no version", "empty error", "noise"],
)
def test_whatever_the_verb_a_hostile_agent_gets_an_error(
    plugin: list[str], tmp_path: Path, command: str, behave: Behaviour, code: int, message: str
) -> None:
    seconds = 0.3 if message == HANGING else 9
    text = config(tmp_path / "agent.sock", timeout=seconds, filler="x" * 500_000, cniVersion="1.1.0")
    with stub(tmp_path / "agent.sock", behave):
        done = execute(plugin, environment(command), text)
    wanted = 50 if code == 11 and command == "STATUS" else code
    assert done.error == (wanted, f"socket = {shown(tmp_path / 'agent.sock')}: {message}")


@pytest.mark.parametrize("behave", [hesitating, endless])
def test_an_agent_that_is_odd_but_honest_is_heard(plugin: list[str], tmp_path: Path, behave: Behaviour) -> None:
    with stub(tmp_path / "agent.sock", behave):
        done = execute(plugin, environment("ADD"), config(tmp_path / "agent.sock"))
    assert (done.code, done.value, done.err) == (0, RESULT, b"")


def test_a_refusal_is_heard_although_the_request_was_not(plugin: list[str], tmp_path: Path) -> None:
    with stub(tmp_path / "agent.sock", refusing):
        done = execute(plugin, environment("ADD"), config(tmp_path / "agent.sock", filler="x" * 900_000))
    assert done.error == (11, REFUSAL["msg"])


def test_who_listens_and_never_accepts_does_not_hold_it(plugin: list[str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent.sock"))
        listener.listen(16)
        done = execute(plugin, environment("ADD"), config(tmp_path / "agent.sock", timeout=0.3))
    assert done.error == (11, f"socket = {shown(tmp_path / 'agent.sock')}: {HANGING}")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("file", "Connection refused"), ("folder", "Connection refused"), ("pipe", "Connection refused"),
     ("datagram", "Protocol wrong type for socket"), ("loop", "Too many levels of symbolic links"),
     ("under a file", "Not a directory")],
)  # fmt: skip
def test_what_is_no_agents_socket(plugin: list[str], tmp_path: Path, kind: str, reason: str) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        if kind in ("file", "under a file"):
            path.write_text("")
        elif kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "datagram":
            datagram.bind(str(path))
        elif kind == "loop":
            path.symlink_to(path)
        if kind == "under a file":
            path = path / "agent.sock"
        code, message = execute(plugin, environment("ADD"), config(path)).error
    assert (code, f"no agent answers ({reason}); start it with" in message) == (11, True), message


@pytest.mark.root
def test_a_kernel_that_does_not_take_the_request_is_not_waited_for(plugin: list[str]) -> None:
    """A user may have no more descriptors under way than open (unix(7), ETOOMANYREFS)."""
    user, limit = 64123, 24
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o777)
        program = place / "plugin"
        program.write_bytes(Path(plugin[-1]).read_bytes())
        program.chmod(0o755)
        argv = ["prlimit", f"--nofile={limit}", *plugin[:-1], str(program)]
        busy = subprocess.Popen([sys.executable, "-c", UNDER_WAY, str(2 * limit)], user=user, stdin=-1, stdout=-1)
        with busy, stub(place / "agent.sock", deaf):
            assert busy.stdout
            assert busy.stdout.readline() == b"sent\n"
            (place / "agent.sock").chmod(0o777)
            ran = subprocess.run(
                argv, env=environment("ADD"), input=config(place / "agent.sock"), capture_output=True, user=user
            )
            busy.communicate()
    said = json.loads(ran.stdout)
    assert (ran.returncode, said["code"], ran.stderr) == (1, 11, b"")
    assert "the request cannot be sent (Too many references: cannot splice); try again" in said["msg"]


UNDER_WAY = """
import socket, sys
here, there = socket.socketpair()
for _ in range(int(sys.argv[1])):
    socket.send_fds(here, [b"x"], [0])
print("sent", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("command", ["ADD", "DEL", "STATUS"])
def test_a_closed_output_harms_nobody(plugin: list[str], tmp_path: Path, command: str) -> None:
    text = config(tmp_path / "agent.sock", cniVersion="1.1.0")
    with stub(tmp_path / "agent.sock", answering(OK)) as agent:
        argv = ["sh", "-c", 'exec "$@" >&-', "sh", *plugin]
        ran = subprocess.run(argv, env=environment(command), input=text, stderr=-1, timeout=60)
    assert (ran.returncode in (0, 1), ran.stderr, len(agent.seen)) == (True, b"", 1)


def test_a_reader_who_does_not_read_does_not_hold_it(plugin: list[str], tmp_path: Path) -> None:
    text = config(tmp_path / "agent.sock", timeout=0.3)
    answer = wire.answer(0, json.dumps(RESULT).encode().rjust(wire.LIMIT))
    reader, writer = os.pipe()
    with open(reader, "rb"), open(writer, "wb") as out, stub(tmp_path / "agent.sock", answering(answer)):
        ran = subprocess.run(plugin, env=environment("ADD"), input=text, stdout=out, stderr=-1, timeout=60)
    assert (ran.returncode, ran.stderr) == (1, b"")


def test_an_input_that_dribbles_does_not_hold_it(plugin: list[str]) -> None:
    """VERSION waits for two seconds; nothing else can be told before the input has ended."""
    argv = ["sh", "-c", 'while printf " " 2>/dev/null; do sleep 0.05; done | "$@"', "sh", *plugin]
    ran = subprocess.run(
        argv, env={"CNI_COMMAND": "VERSION", "PATH": "/bin:/usr/bin"}, stdout=-1, stderr=-1, timeout=60
    )
    assert (ran.returncode, json.loads(ran.stdout)["supportedVersions"], ran.stderr) == (0, VERSIONS, b"")


def test_a_full_backlog_does_not_hold_it(plugin: list[str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(tmp_path / "agent.sock"))
        listener.listen(0)
        first.connect(str(tmp_path / "agent.sock"))
        done = execute(plugin, environment("ADD"), config(tmp_path / "agent.sock", timeout=0.3))
    assert done.error == (11, f"socket = {shown(tmp_path / 'agent.sock')}: {HANGING}")


def test_an_input_without_an_end_does_not_hold_it(plugin: list[str], tmp_path: Path) -> None:
    with subprocess.Popen(plugin, env={"CNI_COMMAND": "VERSION"}, stdin=-1, stdout=-1) as ran:
        assert ran.stdout
        assert b"supportedVersions" in ran.stdout.readline()


def test_a_del_that_is_not_answered_fails_and_leaves_no_tombstone(plugin: list[str], tmp_path: Path) -> None:
    with stub(tmp_path / "agent.sock", silent):
        done = execute(plugin, environment("DEL"), config(tmp_path / "agent.sock", timeout=0.3))
    assert done.error == (11, f"socket = {shown(tmp_path / 'agent.sock')}: {HANGING}")
    assert not (tmp_path / "tombstones").exists()


def test_a_reader_who_left_is_not_waited_for(plugin: list[str], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    text = config(tmp_path / "agent.sock")
    answer = wire.answer(0, json.dumps(RESULT).encode().rjust(wire.LIMIT))
    with stub(tmp_path / "agent.sock", answering(answer)), open(writer, "wb") as out:
        ran = subprocess.run(plugin, env=environment("ADD"), input=text, stdout=out, stderr=-1, timeout=60)
    assert (ran.returncode, ran.stderr) == (1, b"")


# --- the same socket from Python


def test_a_client_calls_cni_and_asks(tmp_path: Path) -> None:
    client = AgentClient(tmp_path / "agent.sock", timeout=30)
    with stub(tmp_path / "agent.sock", answering(OK)) as agent, open("/proc/self/ns/net") as netns:
        status, body = client.call_cni({"CNI_COMMAND": "ADD"}, b"{}", netns.fileno())
        assert client.ask("status", node="a") == RESULT
        assert (status, json.loads(body)) == (0, RESULT)
        first, second = agent.seen
        assert first.call == wire.CniCall({"CNI_COMMAND": "ADD"}, b"{}")
        assert first.inode == os.fstat(netns.fileno()).st_ino
        assert (second.kind, json.loads(second.body)) == (wire.Kind.QUESTION, {"ask": "status", "node": "a"})


def test_a_question_refused_carries_the_agents_sentence(tmp_path: Path) -> None:
    client = AgentClient(tmp_path / "agent.sock", timeout=30)
    refusal = answering(wire.answer(1, b"no such question: use status"))
    with stub(tmp_path / "agent.sock", refusal), pytest.raises(BgpnetError, match=r"\Ano such question: use status\Z"):
        client.ask("nonsense")


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (None, "No such file or directory"),
        (silent, "no answer within 0.2 s"),
        (deaf, "no answer within 0.2 s"),
        (trickling, "no answer within 0.2 s"),
        (answering(b"\0"), "it hung up before it had answered"),
        (answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "is not a bgpnet agent"),
        (answering(wire.answer(0, b"[]")), "its answer is a list, not an object"),
        (answering(wire.answer(0, b"nonsense")), "its answer is not JSON"),
    ],
)
def test_a_client_says_that_the_agent_is_away(tmp_path: Path, behave: Behaviour | None, reason: str) -> None:
    client = AgentClient(tmp_path / "agent.sock", timeout=0.2 if reason == "no answer within 0.2 s" else 30)
    if behave is None:
        with pytest.raises(AgentAway, match=reason):
            client.ask("status")
        return
    with stub(tmp_path / "agent.sock", behave), pytest.raises(AgentAway, match=reason):
        client.ask("status", filler="x" * 500_000)
