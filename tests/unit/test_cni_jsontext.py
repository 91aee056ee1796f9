"""The twin's two ways to read JSON: what the short one takes, it takes as the other does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgpnet.cni import jsontext

VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=True) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,", ":"), (",  ", ":")])
PIECES = st.sampled_from(
    [*'{}[]",:\\u0e-.+ tfn\n\x00\x7f\xa089', "true", '"a":', "]]", "[[", "00", "01", "1 2", "null"]
)


def whole(text: str) -> object:
    """What the long way makes of it, or why it is refused."""
    try:
        value, end = jsontext.read_any(text)
    except (ValueError, StopIteration) as error:
        return type(error)
    return repr(value), end


def taken(text: str) -> bool:
    """Whether the short way takes it; if so, as the long one does."""
    short = jsontext.read_short(text)
    if short is None:
        return False
    value, end = short
    assert (repr(value), end) == whole(text)
    return True


@given(VALUES, SEPARATORS, st.booleans())
def test_any_json(value: object, separators: tuple[str, str], ascii_only: bool) -> None:
    taken(json.dumps({"ours": value}, separators=separators, ensure_ascii=ascii_only))


@given(VALUES, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.lists(PIECES, max_size=4)), max_size=4))
def test_damaged_json(value: object, changes: list[tuple[int, int, list[str]]]) -> None:
    text = json.dumps({"cniVersion": "1.0.0", "ours": value}, ensure_ascii=False)
    for at, size, new in changes:
        at %= len(text) + 1
        text = text[:at] + "".join(new) + text[at + size :]
    taken(text)


@given(st.text(PIECES.map(lambda piece: piece[0]), max_size=12))
def test_any_text(text: str) -> None:
    taken("{" + text)


@pytest.mark.parametrize(
    ("text", "is_short"),
    [
        ('{"cniVersion":"1.1.0","name":"k8s","type":"bgpnet","capabilities":{"ips":true,"mac":true}}', True),
        (
            '{"cniVersion": "1.0.0", "mtu": 1450, "none": null, "routes": [{"dst": "0.0.0.0/0"}], "a": [], "b": {}}',
            True,
        ),
        ('{"a":"\\u0061"}', False),
        ('{"a":1.5}', False),
        ('{"a":-1}', False),
        ('{"a":1}\n', True),
        ('{"a":"\t"}', False),
        ('{"a":01}', False),
        ('{"a":"b",}', False),
        ('{"a","b":{}}', False),
        ('{"a":[],[]}', False),
        ("[1,]", False),
        ("{", False),
        ("", False),
        ('{"a":"' + "x" * 5000 + '"}', False),
        ('{"a":' + "[" * 100 + "]" * 100 + "}", False),
        ('{"a":' + "[" * 99 + "]" * 99 + "}", True),
    ],
)
def test_what_is_short_and_plain(text: str, is_short: bool) -> None:
    assert taken(text) is is_short


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a":1,"a":2}', {"a": b"2"}),
        (b' \r\n\t{"a":"\\u00e4"} \n', {"a": "ä"}),
        ('{"ä":"ü"}'.encode(), {"ä": "ü"}),
        (b"[]", None),
        (b'{"a":1} x', None),
        (b'{"a":NaN}', None),
        (b"\xff", None),
        (b'{"a":' + b"[" * 499 + b"]" * 499 + b"}", ...),
        (b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", None),
        (b"[" * 200_000, None),
    ],
)
def test_an_object(text: bytes, value: object) -> None:
    read = jsontext.read_object(text)
    assert (read is not None) if value is ... else (read == value)
