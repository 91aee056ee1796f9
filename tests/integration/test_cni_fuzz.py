"""Whatever they are given, both plugins end with 0 or 1 and the same CNI answer.

The C one in process by libFuzzer and under sanitizers (tests/fuzz/), and both by execution, as they are shipped.
BGPNET_SOAK=1 executes 10,000 inputs instead of 600; `make fuzz` does that, and a million in process.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cni_fuzzer
import pytest
from cni_stub import RESULT, Stub, compiled, config, environment, execute, frozen, stub
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bgpnet import wire

SOAK = bool(os.environ.get("BGPNET_SOAK"))
IN_PROCESS = 50_000
EXAMPLES = settings(
    max_examples=2_500 if SOAK else 150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
COMMANDS = st.sampled_from(["ADD", "CHECK", "GC", "STATUS"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(["cniVersion", "socket", "timeout", "name"]) | st.text(max_size=4)
VERSIONS = st.sampled_from(["0.3.1", "0.4.0", "1.0.0", "1.1.0", "9.9.9"])
WORDS = st.binary(max_size=300).map(lambda text: text.replace(b"\0", b""))
NOT_NUL = st.characters(codec="utf-8", exclude_characters="\0")
LONG = 3600 if SOAK else 600
PATIENT = 60
"""Seconds in which both programs find out that nobody listens."""
PIECES = st.sampled_from([*b'{}[]",:\\u0e-.+ tfn\n\xff\xc0\xed\0d89'])


Programs = tuple[list[str], list[str]]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """The C program and its Python twin, as they are installed."""
    folder = tmp_path_factory.mktemp("cni")
    return compiled(folder, "-O2", "-static"), frozen(folder / "twin")


def same_answer(shipped: Programs, env: dict[str, str | bytes], stdin: bytes) -> None:
    """Executes both; what they print must be one CNI answer, and the same."""
    ours, twin = (execute(plugin, env, stdin) for plugin in shipped)
    assert (ours.err, twin.err) == (b"", b"")
    assert (ours.code, ours.out) == (twin.code, twin.out)
    if ours.code:
        assert ours.error[0] in (1, 4, 5, 6, 7, 11, 50)
    else:
        assert env["CNI_COMMAND"] in ("DEL", "VERSION")
        assert ours.out == b"" or ours.value["supportedVersions"] == ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]


def test_the_c_program_in_process(tmp_path: Path) -> None:
    program = cni_fuzzer.build(tmp_path / "cni", cni_fuzzer.SANITIZED)
    code, told = cni_fuzzer.fuzz(program, IN_PROCESS, tmp_path / "corpus", seconds=250, seed=1)
    assert (code, f"Done {IN_PROCESS} runs" in told) == (0, True), told[-8000:]


@pytest.mark.timeout(LONG)
@EXAMPLES
@given(command=COMMANDS, ours=st.dictionaries(KEYS, VALUES, max_size=6), version=VERSIONS, ascii_only=st.booleans())
def test_any_json(
    shipped: Programs, tmp_path: Path, command: str, ours: dict[str, object], version: str, ascii_only: bool
) -> None:
    if command in ("GC", "STATUS"):
        ours = {**ours, "socket": str(tmp_path / "nobody.sock")}
        wanted = ours.get("timeout")
        if type(wanted) in (int, float) and 0 < wanted < PATIENT:  # one of the two may be too late, and say so
            ours["timeout"] = wanted + PATIENT
    text = json.dumps({"cniVersion": version, **ours}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    same_answer(shipped, environment(command, netns="/dev/null"), text)


@pytest.mark.timeout(LONG)
@EXAMPLES
@given(
    ours=st.dictionaries(KEYS, VALUES, max_size=6),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.lists(PIECES, max_size=4)), max_size=4),
)
def test_damaged_json(shipped: Programs, ours: dict[str, object], changes: list[tuple[int, int, list[int]]]) -> None:
    text = json.dumps({"cniVersion": "1.0.0", **ours}).encode()
    for at, size, new in changes:
        at %= len(text) + 1
        text = text[:at] + bytes(new) + text[at + size :]
    same_answer(shipped, environment("ADD", netns="/dev/null"), text)


@pytest.mark.timeout(LONG)
@EXAMPLES
@given(
    command=st.sampled_from(["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "GC"]) | WORDS,
    container=WORDS | st.from_regex(rb"[a-z0-9][a-z0-9_.-]{0,80}", fullmatch=True) | st.just(b"c" * 300),
    ifname=WORDS | st.from_regex(rb"\w{1,16}", fullmatch=True) | st.text(NOT_NUL, max_size=8).map(str.encode),
    netns=WORDS | st.sampled_from([b"/dev/null", b"/proc/self/ns/net", b"/proc/self/ns/mnt", b"."]),
    arguments=WORDS,
)
def test_any_environment(
    shipped: Programs,
    tmp_path: Path,
    command: str | bytes,
    container: bytes,
    ifname: bytes,
    netns: bytes,
    arguments: bytes,
) -> None:
    env = environment(command, containerid=container, ifname=ifname, netns=netns, args=arguments)
    same_answer(shipped, env, config(tmp_path / "agent.sock"))


@dataclass
class Repeater:
    """An agent that says whatever it is told to say."""

    path: Path
    reply: bytes = b""

    def __call__(self, peer: socket.socket, agent: Stub) -> None:
        agent.hear(peer)
        peer.sendall(self.reply)


@pytest.fixture(scope="module")
def repeater(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repeater]:
    repeater = Repeater(tmp_path_factory.mktemp("repeater") / "agent.sock")
    with stub(repeater.path, repeater):
        yield repeater


FIELDS = st.sampled_from(["cniVersion", "code", "msg"]) | st.text(max_size=4)
ERROR = {"cniVersion": "1.0.0", "code": 101, "msg": "no address"}


@pytest.mark.timeout(LONG)
@EXAMPLES
@given(
    command=st.sampled_from(["ADD", "DEL", "CHECK"]),
    status=st.sampled_from([0, 1, 0, 1, 2, 255]),
    base=st.sampled_from([RESULT, ERROR, {}]),
    more=st.dictionaries(FIELDS, VALUES, max_size=3),
    body=st.none() | st.binary(max_size=40),
    cut=st.integers(-9, 0),
)
def test_any_answer(
    shipped: Programs,
    repeater: Repeater,
    command: str,
    status: int,
    base: dict[str, object],
    more: dict[str, object],
    body: bytes | None,
    cut: int,
) -> None:
    text = json.dumps({**base, **more}).encode() if body is None else body
    whole = wire.ANSWER.pack(len(text), status) + text
    repeater.reply = whole[: cut or None]
    ours, twin = (execute(plugin, environment(command), config(repeater.path)) for plugin in shipped)
    assert (ours.code, ours.out, ours.err) == (twin.code, twin.out, b"")
    if command == "DEL" and cut and (status <= 1 or len(repeater.reply) < wire.ANSWER.size):
        assert (ours.code, ours.out) == (0, b"")  # noted
    elif ours.out == text:
        assert (cut, ours.code) == (0, status)
        assert {"cniVersion"} <= ours.value.keys() if text else command != "ADD"
        assert not status or {"code", "msg"} <= ours.value.keys()
    else:
        assert ours.error[0] in (6, 11)
