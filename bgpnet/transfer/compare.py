"""What two datastores do not have alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bgpnet.model.kinds import Resource, subject
from bgpnet.transfer.contents import canonical, ordered, shown, tree


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that is not alike on two sides; how: `only in the first`, `only in the second`, or where it differs."""

    subject: str
    how: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.how}"


def compare(first: Iterable[Resource], second: Iterable[Resource]) -> list[Difference]:
    """Every difference, revisions aside, by kind and name."""
    one, other = ({subject(each): each for each in side} for side in (first, second))
    everything = {subject(each): each for each in ordered({**one, **other}.values())}
    found = []
    for name in everything:
        if name not in other:
            found.append(Difference(name, "only in the first"))
        elif name not in one:
            found.append(Difference(name, "only in the second"))
        elif canonical(one[name]) != canonical(other[name]):
            paths = list(_paths(tree(one[name]), tree(other[name])))
            found.append(Difference(name, f"differs in {shown(paths).replace('; ', ', ')}"))
    return found


def same(one: Resource, other: Resource) -> bool:
    """Whether two objects are one and the same, revisions aside."""
    return canonical(one) == canonical(other)


def _paths(one: object, other: object, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            if one.get(key) != other.get(key):
                yield from _paths(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
    elif one != other:
        yield path
