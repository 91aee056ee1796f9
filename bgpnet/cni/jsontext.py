"""The JSON that the plugin's twin reads: json.c's twin, which takes and refuses the same. Pure.

It is installed in one file with plugin.py, in front of it, and imports as little.
"""

import sys

DEPTH = 500
SPACE = " \t\n\r"
NESTED = (dict, list)  # to write `dict | list` takes Python 3.10
PLAIN, FEW = 4096, 100  # letters, and objects and arrays, that read_plain is asked for


def read_plain(text: str, at: int) -> tuple[object, int]:
    """The JSON value that begins there, and where it ends, of a text as programs write it; a number is its bytes.

    Raises ValueError or IndexError for whatever else: escapes, fractions, white space but for one after a comma or a
    colon, and what is no JSON. Half a kilobyte takes a quarter of what it takes to load _json.
    """
    first = text[at]
    if first == '"':
        end = text.index('"', at + 1)
        string = text[at + 1 : end]
        if "\\" in string or not string.isprintable():
            raise ValueError
        return string, end + 1
    if first in "{[":
        return read_members(text, at + 1, first == "{")
    for word, value in (("true", True), ("false", False), ("null", None)):
        if text.startswith(word, at):
            return value, at + len(word)
    end = at
    while text[end] in "0123456789":
        end += 1
    if end == at or (first == "0" and end > at + 1):
        raise ValueError
    return text[at:end].encode(), end


def read_members(text: str, at: int, is_object: bool) -> tuple[object, int]:
    """The object or the array whose members begin there, and where it ends; raises as read_plain does."""
    members: dict[object, object] = {}
    end = "}" if is_object else "]"
    if text[at] == end:
        return members if is_object else [], at + 1
    while True:
        key: object = len(members)
        if is_object:
            key, at = read_plain(text, at)
            if not isinstance(key, str) or text[at] != ":":
                raise ValueError
            at += 2 if text[at + 1] == " " else 1
        members[key], at = read_plain(text, at)
        if text[at] == end:
            return members if is_object else list(members.values()), at + 1
        if text[at] != ",":
            raise ValueError
        at += 2 if text[at + 1] == " " else 1


def read_short(text: str) -> tuple[object, int] | None:
    """The JSON object that the text begins with, and where it ends, if that is short and plain."""
    if text[:1] != "{" or len(text) > PLAIN or text.count("{") + text.count("[") > FEW:
        return None
    try:
        return read_plain(text, 0)
    except (ValueError, IndexError):
        return None


def read_any(text: str) -> tuple[object, int]:
    """The JSON value that the text begins with, and where it ends; raises ValueError, StopIteration, RecursionError."""
    if "json.decoder" not in sys.modules:  # where _json finds its exception; the real one would double the start
        sys.modules["json"], sys.modules["json.decoder"] = json, decoder = type(sys)("json"), type(sys)("json.decoder")
        json.__dict__["decoder"] = decoder
        decoder.__dict__["JSONDecodeError"] = ValueError
    import _json

    class Scanner:
        """What make_scanner asks for; a number becomes the bytes that it is written in."""

        strict = True
        object_hook = None
        object_pairs_hook = None
        parse_float = str.encode
        parse_int = str.encode
        parse_constant = int  # refuses NaN and Infinity: JSON has none

    return _json.make_scanner(Scanner)(text, 0)  # type: ignore[arg-type] # it reads those attributes


def read_object(text: bytes) -> dict[str, object] | None:
    """The JSON object that the bytes are; None if they are not, or are nested too deep."""
    try:
        letters = text.decode().lstrip(SPACE)
        value, end = read_short(letters) or read_any(letters)
    except (ValueError, StopIteration, RecursionError):
        return None
    if not isinstance(value, dict) or letters[end:].strip(SPACE):
        return None
    level: list[dict[str, object] | list[object]] = [value]
    for _ in range(DEPTH):
        inner = [each for outer in level for each in (outer.values() if isinstance(outer, dict) else outer)]
        level = [each for each in inner if isinstance(each, NESTED)]
        if not level:
            return value
    return None
