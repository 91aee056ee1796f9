"""What the peers taught us: paths, the table of them, and which path of a prefix is best. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from bgpnet.model.ip import Address, Network, address

T = TypeVar("T")

Key = tuple[Network, int]
"""A path among those of one peer: the prefix, and the ADD-PATH identifier (RFC 7911; 0 where there is none)."""

ORIGINS = {"igp": 0, "egp": 1, "incomplete": 2}
LOCAL_PREF = 100
"""What a path without LOCAL_PREF counts as (every implementation's default)."""


class Path(Struct, frozen=True, kw_only=True):
    """One route as one peer announced it, attributes as they came.

    as_path: AS numbers in order, a set as one tuple of numbers inside. communities: `64512:1`, large ones
    `64512:1:2`. external: the peer is in another AS. stale: its session was lost and has not spoken again since.
    """

    prefix: Network
    next_hop: Address
    peer: Address
    path_id: int = 0
    origin: str = "igp"
    as_path: tuple[int | tuple[int, ...], ...] = ()
    local_pref: int | None = None
    med: int | None = None
    communities: tuple[str, ...] = ()
    large_communities: tuple[str, ...] = ()
    extended_communities: tuple[str, ...] = ()
    originator_id: str = ""
    cluster_list: tuple[str, ...] = ()
    external: bool = False
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Update:
    """What one UPDATE changes: the withdrawn go first, so that what is in both is announced (RFC 4271, 4.3)."""

    peer: Address
    announced: tuple[Path, ...] = ()
    withdrawn: tuple[Key, ...] = ()


def merged(events: Iterable[T]) -> Iterator[T | Update]:
    """The events in their order, but of UPDATEs of one peer in a row one: a table takes it for the price of one."""
    row: list[Update] = []
    for event in events:
        if isinstance(event, Update):
            if row and row[0].peer != event.peer:
                yield _one(row)
                row = []
            row.append(event)
            continue
        if row:
            yield _one(row)
            row = []
        yield event
    if row:
        yield _one(row)


def _one(row: Sequence[Update]) -> Update:
    """What comes of all of them: the last word on each path counts."""
    if len(row) == 1:
        return row[0]
    announced: dict[Key, Path] = {}
    withdrawn: dict[Key, None] = {}
    for update in row:
        for key in update.withdrawn:
            announced.pop(key, None)
            withdrawn[key] = None
        for path in update.announced:
            announced[path.prefix, path.path_id] = path
    return Update(row[0].peer, tuple(announced.values()), tuple(key for key in withdrawn if key not in announced))


class Table:
    """Adj-RIBs-In of all peers, as one value that never changes; each method gives another table.

    A change costs a copy of one peer's paths, whatever it changes in them.
    """

    __slots__ = ("_peers", "memo")

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self._peers: dict[Address, dict[Key, Path]] = {}
        self.memo: dict[str, object] = {}  # what was worked out of this table or an earlier one, by who worked it out
        for path in paths:
            self._peers.setdefault(path.peer, {})[path.prefix, path.path_id] = path

    def apply(self, update: Update) -> Table:
        """The table after an UPDATE."""
        paths = dict(self._peers.get(update.peer, {}))
        for key in update.withdrawn:
            paths.pop(key, None)
        for path in update.announced:
            paths[path.prefix, path.path_id] = path
        return self._with(update.peer, paths)

    def mark_stale(self, peer: Address) -> Table:
        """The session is lost: its paths serve until swept, or announced anew (RFC 4724, 4.2)."""
        return self._with(peer, {key: replace(path, stale=True) for key, path in self._peers.get(peer, {}).items()})

    def sweep(self, peer: Address) -> Table:
        """The peer has ended its table (End-of-RIB), or its time is over: what is still stale goes."""
        paths = self._peers.get(peer, {})
        if not any(path.stale for path in paths.values()):
            return self
        return self._with(peer, {key: path for key, path in paths.items() if not path.stale})

    def drop(self, peer: Address) -> Table:
        """All that the peer taught us goes."""
        return self._with(peer, {})

    def peers(self) -> frozenset[Address]:
        """Those that some path is from."""
        return frozenset(self._peers)

    def of(self, peer: Address) -> Mapping[Key, Path]:
        """One peer's paths."""
        return self._peers.get(peer, {})

    def paths(self) -> Iterator[Path]:
        """All paths of all peers."""
        for paths in self._peers.values():
            yield from paths.values()

    def __len__(self) -> int:
        return sum(map(len, self._peers.values()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self._peers == other._peers

    __hash__ = None  # type: ignore[assignment]  # equal by content, and the content is large

    def __repr__(self) -> str:
        return f"Table({list(self.paths())!r})"

    def _with(self, peer: Address, paths: dict[Key, Path]) -> Table:
        table = Table()
        table._peers = {**self._peers, peer: paths}
        table.memo = self.memo
        if not paths:
            del table._peers[peer]
        return table


Identifiers = Mapping[Address, Address]
"""The peers' BGP identifiers (of their OPEN), by their addresses."""


def decide(paths: Iterable[Path], identifiers: Identifiers = MappingProxyType({})) -> Path:
    """The best of several paths to one prefix; at least one is given.

    In this order (RFC 4271, 9.1.2, with the steps of RFC 4456, 9):
      not stale before stale (RFC 4724 lets us choose);
      1. the highest LOCAL_PREF;                       2. the shortest AS_PATH, a set counting one;
      3. the lowest ORIGIN: igp, egp, incomplete;      4. the lowest MED among those of one neighbouring AS, none is 0;
      5. from another AS before from our own;          6. (interior cost: every next hop costs the same here);
      7. the lowest BGP identifier, in its place ORIGINATOR_ID if there is one, the peer's address if none is known;
      8. the shortest CLUSTER_LIST;                    9. the lowest peer address; and the lowest path identifier.
    """
    return equals(paths, identifiers)[0]


def equals(paths: Iterable[Path], identifiers: Identifiers = MappingProxyType({})) -> tuple[Path, ...]:
    """The best path, and after it those that are as good by the steps 1 to 6 of `decide`: several ways for one route.

    What the later steps compare is only there to choose one.
    """
    paths = list(paths)
    if len(paths) == 1:
        return (paths[0],)
    least = min(map(_before_med, paths))
    equal = [path for path in paths if _before_med(path) == least]
    lowest: dict[object, int] = {}
    for path in equal:
        neighbour = _neighbour_as(path)
        lowest[neighbour] = min(lowest.get(neighbour, path.med or 0), path.med or 0)
    left = [path for path in equal if (path.med or 0) == lowest[_neighbour_as(path)]]
    left.sort(key=lambda path: _after_med(path, identifiers))
    return tuple(path for path in left if path.external is left[0].external)


def _before_med(path: Path) -> tuple[bool, int, int, int]:
    local_pref = LOCAL_PREF if path.local_pref is None else path.local_pref
    return (path.stale, -local_pref, len(path.as_path), ORIGINS.get(path.origin, 2))


def _neighbour_as(path: Path) -> object:
    """The AS that the path came from, None for our own: its path is empty, or it was aggregated and begins with a set
    (RFC 4271, 9.1.2.2 c)."""
    first = path.as_path[0] if path.as_path else None
    return first if isinstance(first, int) else None


def _after_med(path: Path, identifiers: Identifiers) -> tuple[bool, int, int, int, int, int]:
    own = identifiers.get(path.peer, path.peer)
    identifier = address(path.originator_id) if path.originator_id else own
    return (
        not path.external,
        int(identifier),
        len(path.cluster_list),
        path.peer.version,
        int(path.peer),
        path.path_id,
    )
