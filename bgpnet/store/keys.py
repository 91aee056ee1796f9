"""Keys and revisions as text, for the stores that count their revisions themselves.

A prefix is taken literally: no character of a key is a wildcard. A revision is `<identity>.<number>`: the identity is
drawn when the datastore is made, so that one of another datastore, or of one that was wiped, is never taken for ours.
"""

from __future__ import annotations

from bgpnet.store.api import Revision

FOREIGN = -1
"""The number of a revision that is not ours: before all history."""


def prefix_end(prefix: str) -> str:
    """The first key after all keys under the prefix, which must end in `/`; raises ValueError when it does not."""
    if not prefix.endswith("/"):
        raise ValueError(f"prefix {prefix!r}: must end in '/', or neighbours such as /a/bc would count as under /a/b")
    return prefix[:-1] + chr(ord("/") + 1)


def revision(identity: str, number: int) -> Revision:
    """What callers see of the number."""
    return Revision(f"{identity}.{number}")


def number(identity: str, known: Revision) -> int:
    """The way back; FOREIGN for a revision of another datastore."""
    theirs, _, digits = known.partition(".")
    return int(digits) if theirs == identity and digits.isdecimal() else FOREIGN
