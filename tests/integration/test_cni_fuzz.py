"""Whatever they are given, both plugins end with 0 or 1 and the same CNI answer; the C one under sanitizers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cni_stub import TWIN, compiled, config, environment, execute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
COMMANDS = st.sampled_from(["ADD", "CHECK"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(["cniVersion", "socket", "timeout", "name"]) | st.text(max_size=4)
VERSIONS = st.sampled_from(["0.3.1", "0.4.0", "1.0.0", "9.9.9"])
WORDS = st.binary(max_size=300).map(lambda text: text.replace(b"\0", b""))
NOT_NUL = st.characters(codec="utf-8", exclude_characters="\0")
PIECES = st.sampled_from([*b'{}[]",:\\u0e-.+ tfn\n\xff\xc0\xed\0d89'])


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return compiled(tmp_path_factory.mktemp("cni"), "-g", "-O1", "-fsanitize=address,undefined", compiler="cc")


def same_answer(checked: list[str], env: dict[str, str | bytes], stdin: bytes) -> None:
    """Executes both; what they print must be one CNI answer, and the same."""
    ours, twin = (execute(plugin, env, stdin) for plugin in (checked, TWIN))
    assert (ours.err, twin.err) == (b"", b"")
    assert (ours.code, ours.out) == (twin.code, twin.out)
    if ours.code:
        assert ours.error[0] in (1, 4, 5, 6, 7, 11)
    else:
        assert env["CNI_COMMAND"] in ("DEL", "VERSION")
        assert ours.out == b"" or ours.value["supportedVersions"] == ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]


@EXAMPLES
@given(command=COMMANDS, ours=st.dictionaries(KEYS, VALUES, max_size=6), version=VERSIONS, ascii_only=st.booleans())
def test_any_json(checked: list[str], command: str, ours: dict[str, object], version: str, ascii_only: bool) -> None:
    text = json.dumps({"cniVersion": version, **ours}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    same_answer(checked, environment(command, netns="/dev/null"), text)


@EXAMPLES
@given(
    ours=st.dictionaries(KEYS, VALUES, max_size=6),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.lists(PIECES, max_size=4)), max_size=4),
)
def test_damaged_json(checked: list[str], ours: dict[str, object], changes: list[tuple[int, int, list[int]]]) -> None:
    text = json.dumps({"cniVersion": "1.0.0", **ours}).encode()
    for at, size, new in changes:
        at %= len(text) + 1
        text = text[:at] + bytes(new) + text[at + size :]
    same_answer(checked, environment("ADD", netns="/dev/null"), text)


@EXAMPLES
@given(
    command=st.sampled_from(["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "GC"]) | WORDS,
    container=WORDS | st.from_regex(rb"[a-z0-9][a-z0-9_.-]{0,80}", fullmatch=True) | st.just(b"c" * 300),
    ifname=WORDS | st.from_regex(rb"\w{1,16}", fullmatch=True) | st.text(NOT_NUL, max_size=8).map(str.encode),
    netns=WORDS | st.sampled_from([b"/dev/null", b"/proc/self/ns/net", b"/proc/self/ns/mnt", b"."]),
    arguments=WORDS,
)
def test_any_environment(
    checked: list[str],
    tmp_path: Path,
    command: str | bytes,
    container: bytes,
    ifname: bytes,
    netns: bytes,
    arguments: bytes,
) -> None:
    env = environment(command, containerid=container, ifname=ifname, netns=netns, args=arguments)
    same_answer(checked, env, config(tmp_path / "agent.sock"))
