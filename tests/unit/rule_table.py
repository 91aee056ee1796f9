"""Tables of cases as text: `what is written | ok`, or `… | path: beginning of the problem`.

Several problems are joined by ` ++ `. A line that begins with `|` or `++` goes on from the one before.
"""

from __future__ import annotations

from bgpnet import codec
from bgpnet.errors import Finding, Invalid
from bgpnet.model.kinds import Resource


def rows(table: str) -> list[tuple[str, str]]:
    """The rows of a table, blank lines and comments left out."""
    lines: list[str] = []
    for line in map(str.strip, table.splitlines()):
        if line.startswith(("|", "++")):
            lines[-1] += f" {line}"
        elif line and not line.startswith("#"):
            lines.append(line)
    pairs = [line.rsplit(" | ", 1) for line in lines]
    return [(written.strip(), expected.strip()) for written, expected in pairs]


def text(kind: str, spec: str, name: str = "x") -> str:
    """A resource as one line of YAML."""
    return f"{{apiVersion: bgpnet.io/v1, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}"


def one(kind: str, spec: str, name: str = "x") -> Resource:
    """The resource of that spec."""
    (resource,) = codec.decode(text(kind, spec, name))
    return resource


def findings(written: str) -> list[Finding]:
    """What is wrong with a text."""
    try:
        codec.decode(written)
    except Invalid as invalid:
        return invalid.findings
    return []


def agree(found: list[Finding], expected: str) -> bool:
    """Whether exactly the expected findings were found, in any order."""
    said = [f"{finding.path}: {finding.problem}" for finding in found]
    wanted = [] if expected == "ok" else expected.split(" ++ ")
    if len(said) != len(wanted):
        return False
    return all(any(line.startswith(beginning) for line in said) for beginning in wanted)
