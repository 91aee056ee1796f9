"""The agent's socket: what crosses it, as bytes. Pure; the C client (cni/plugin.c) speaks the same.

One request and one answer a connection (unix stream socket, `$BGPNET_RUN_DIR/agent.sock`, mode 0600):

    request:  "BGPN"  kind(1)  length(4, big-endian)  body(length)
    answer:   length(4, big-endian)  status(1)  body(length)

kind `C`, a CNI call: the CNI_ variables of the plugin's environment, each `NAME=value` and a NUL, then one more NUL,
then the plugin's standard input to the end. Where CNI_NETNS is set and can be opened, its descriptor travels with the
first byte (SCM_RIGHTS). The answer's status is the plugin's exit code, its body what the plugin prints.
kind `Q`, a question of ours: JSON `{"ask": <name>, ...}`; status 0 and JSON, or 1 and one sentence.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

MAGIC = b"BGPN"
REQUEST = struct.Struct(">4scI")
ANSWER = struct.Struct(">IB")
LIMIT = 1 << 20
"""The largest body either way, in bytes."""


class Kind(Enum):
    """What a request is."""

    CNI = b"C"
    QUESTION = b"Q"


class BadFrame(ValueError):
    """The peer does not speak this protocol, or says more than it may."""


@dataclass(frozen=True, slots=True)
class CniCall:
    """One execution of the plugin: its CNI_ variables and its standard input."""

    env: Mapping[str, str]
    stdin: bytes


def request(kind: Kind, body: bytes) -> bytes:
    """A whole request; raises BadFrame when the body is over the limit."""
    if len(body) > LIMIT:
        raise BadFrame(f"a request of {len(body)} bytes: at most {LIMIT} are taken")
    return REQUEST.pack(MAGIC, kind.value, len(body)) + body


def request_head(head: bytes) -> tuple[Kind, int]:
    """The kind and the length of the body that follows; raises BadFrame."""
    magic, kind, length = REQUEST.unpack(head)
    if magic != MAGIC:
        raise BadFrame(f"a request that begins with {magic!r} instead of {MAGIC!r}")
    if length > LIMIT:
        raise BadFrame(f"a request of {length} bytes: at most {LIMIT} are taken")
    try:
        return Kind(kind), length
    except ValueError as error:
        raise BadFrame(f"a request of kind {kind!r}: this agent knows C and Q") from error


def answer(status: int, body: bytes) -> bytes:
    """A whole answer."""
    return ANSWER.pack(len(body), status) + body


def answer_head(head: bytes) -> tuple[int, int]:
    """The length of the body that follows, and the status; raises BadFrame."""
    length, status = ANSWER.unpack(head)
    if length > LIMIT:
        raise BadFrame(f"an answer of {length} bytes: at most {LIMIT} are taken")
    return length, status


def pack_cni(call: CniCall) -> bytes:
    """The body of a CNI call."""
    variables = b"".join(
        f"{name}={value}".encode("utf-8", "surrogateescape") + b"\0" for name, value in call.env.items()
    )
    return variables + b"\0" + call.stdin


def unpack_cni(body: bytes) -> CniCall:
    """The way back; raises BadFrame."""
    env: dict[str, str] = {}
    at = 0
    while (end := body.find(b"\0", at)) > at:
        name, equals, value = body[at:end].decode("utf-8", "surrogateescape").partition("=")
        if not equals:
            raise BadFrame(f"a variable without a value: {name!r}")
        env[name] = value
        at = end + 1
    if end < 0:
        raise BadFrame("the variables do not end")
    return CniCall(env, body[at + 1 :])
