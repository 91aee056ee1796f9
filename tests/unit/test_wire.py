"""The agent's socket, as bytes; and that the plugins, which import nothing, say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgpnet import wire
from bgpnet.cni import frozen, jsontext, plugin, tombstone

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="=\0"), min_size=1)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(st.dictionaries(NAMES, VALUES), st.binary())
def test_a_call_round_trips(env: dict[str, str], stdin: bytes) -> None:
    call = wire.CniCall(env, stdin)
    assert wire.unpack_cni(wire.pack_cni(call)) == call


def test_bytes_that_are_not_utf8_round_trip() -> None:
    call = wire.CniCall({"CNI_ARGS": "a=\udcff"}, b"")
    assert wire.pack_cni(call) == b"CNI_ARGS=a=\xff\0\0"
    assert wire.unpack_cni(wire.pack_cni(call)) == call


@given(st.binary(max_size=200))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    try:
        call = wire.unpack_cni(body)
    except wire.BadFrame:
        assert b"\0\0" not in b"\0" + body or b"=" not in body.split(b"\0\0")[0]
    else:
        assert body.endswith(call.stdin)


@pytest.mark.parametrize(
    ("body", "message"), [(b"", "do not end"), (b"A=1", "do not end"), (b"A=1\0B\0\0", "without a value: 'B'")]
)
def test_a_bad_body_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(wire.BadFrame, match=message):
        wire.unpack_cni(body)


@pytest.mark.parametrize("kind", wire.Kind)
def test_a_request_round_trips(kind: wire.Kind) -> None:
    whole = wire.request(kind, b"body")
    assert wire.request_head(whole[: wire.REQUEST.size]) == (kind, 4)
    assert whole[wire.REQUEST.size :] == b"body"


def test_an_answer_round_trips() -> None:
    whole = wire.answer(1, b"body")
    assert wire.answer_head(whole[: wire.ANSWER.size]) == (4, 1)
    assert whole[wire.ANSWER.size :] == b"body"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"GET /C\0\0\0", "begins with b'GET ' instead of b'BGPN'"),
        (b"BGPNX\0\0\0\0", "of kind b'X': this agent knows C and Q"),
        (b"BGPNC\0\x10\0\x01", "a request of 1048577 bytes: at most 1048576"),
    ],
)
def test_a_bad_request_is_refused(head: bytes, message: str) -> None:
    with pytest.raises(wire.BadFrame, match=re.escape(message)):
        wire.request_head(head)


def test_too_much_is_refused_either_way() -> None:
    assert len(wire.request(wire.Kind.CNI, bytes(wire.LIMIT))) == wire.LIMIT + wire.REQUEST.size
    with pytest.raises(wire.BadFrame, match="a request of 1048577 bytes"):
        wire.request(wire.Kind.CNI, bytes(wire.LIMIT + 1))
    with pytest.raises(wire.BadFrame, match="an answer of 4294967295 bytes"):
        wire.answer_head(b"\xff\xff\xff\xff\0")


def test_the_python_twin_speaks_the_same() -> None:
    assert (wire.MAGIC, wire.Kind.CNI.value, wire.LIMIT) == (plugin.MAGIC, plugin.KIND, plugin.LIMIT)
    assert len(plugin.MAGIC + plugin.KIND) + 4 == wire.REQUEST.size
    assert wire.ANSWER.size == plugin.ANSWER_HEAD


def test_the_c_plugin_speaks_the_same() -> None:
    folder = Path(plugin.__file__).parent
    source = "".join((folder / name).read_text() for name in ("json.c", "say.c", "request.c", "plugin.c"))
    defined = dict(re.findall(r"^#define (\w+) (.*?)(?: +/\*.*)?$", source, re.MULTILINE))
    assert int(defined["HEAD"]) == wire.REQUEST.size
    assert int(defined["ANSWER_HEAD"]) == wire.ANSWER.size
    assert defined["LIMIT"] == "(1 << 20)"
    assert defined["SOCKET"].strip('"').encode() == plugin.SOCKET
    assert defined["VERSIONS"].strip('"') == plugin.LISTED
    assert defined["KNOWN"].strip('"') == plugin.COMMANDS
    assert defined["REMEDY"].strip('"') == plugin.REMEDY
    assert int(defined["DEPTH"]) == jsontext.DEPTH
    for name in ("TIMEOUT", "SHORT_TIMEOUT", "TIMEOUT_LIMIT", "VERSION_TIMEOUT", "SHOWN", "PIECE"):
        assert defined[name].strip('"') == str(getattr(plugin, name)), name


def test_the_python_twin_imports_only_what_is_written_in_c() -> None:
    """And what the usual call does without, where it is needed."""
    imported = re.findall(r"^( *)(?:import|from) +(\w+)", frozen.source().decode(), re.MULTILINE)
    assert {name for indent, name in imported if not indent} == {"_socket", "fcntl", "posix", "select", "sys", "time"}
    assert {name for indent, name in imported if indent} == {"_json"}


def test_a_note_that_is_gone_already_harms_no_del(tmp_path: Path) -> None:
    """An agent that has just started takes it away while the plugin, which has reached it, is about to."""
    note = tmp_path / "note"
    note.write_text("")
    for _ in range(2):
        tombstone.unlink(bytes(note))
    assert not note.exists()


def test_what_the_twin_starts_by_is_where_it_is_looked_for() -> None:
    source = (Path(plugin.__file__).parent / "start.py").read_text()
    short, long = frozen.LAYOUTS
    assert f'{short} if b"\\n" in file[:{short[0]}] else {long}' in source
