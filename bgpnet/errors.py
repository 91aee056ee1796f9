"""Everything that can go wrong, in one place.

BgpnetError
  Invalid             a value breaks a rule: one finding a rule, all findings at once
  StoreError
    StoreUnreachable  the datastore did not answer: try again
    NotFound          no object of that key
    AlreadyExists     create met an object of that key
    Conflict          somebody changed it first: read again
    Compacted         the watch asks for history that is gone: list again
  NoAddress           no pool gives this node such an address: the message says why
  AllocationRefused   an address is not, or no longer, whose the caller thinks it is
    AddressRests      the address that was asked for was released a moment ago: try again
  JournalFailed       the node's journal could not be read or written: nothing is promised
  KernelRefused       the kernel said no to one item: the rest goes on
  AgentAway           nobody answers on the agent's socket
  SpeakerAway         nobody answers on the speaker's socket
  CniError            what the container runtime is told (code, message, details)
  UsageError          the caller must change something (a flag, a file); carries the one sentence to show

Every message is one sentence that names the field or object, the value, and what to do.
Vendors' exceptions stop at their edge and become one of these.
"""

from __future__ import annotations

from dataclasses import dataclass


class BgpnetError(Exception):
    """The root: whatever is one of these is for people to read; anything else is a bug of ours."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule: where (`spec.blockSize`), the value found there, what is wrong and what to do about it.

    line: of the text that it stands in, from 1; None where there is no text, or it is not known.
    """

    path: str
    value: object
    problem: str
    line: int | None = None

    def __str__(self) -> str:
        shown = "" if self.value is None else f" = {self.value!r}"
        return f"{self.path}{shown}: {self.problem}"


class Invalid(BgpnetError):
    """A resource or request breaks one or more rules; `subject` is such as `IPPool(blue)`."""

    def __init__(self, subject: str, findings: list[Finding]) -> None:
        super().__init__(f"{subject}: " + "; ".join(str(finding) for finding in findings))
        self.subject = subject
        self.findings = findings


class StoreError(BgpnetError):
    """The datastore could not do it."""


class StoreUnreachable(StoreError):
    """The datastore did not answer within its deadline; nothing is known about the outcome."""


class NotFound(StoreError):
    """No object of that key."""


class AlreadyExists(StoreError):
    """A create met an object of that key."""


class Conflict(StoreError):
    """The object's revision is not the expected one: somebody changed it first."""


class Compacted(StoreError):
    """The history a watch asked for is gone: list again and compare."""


class NoAddress(BgpnetError):
    """No pool gives this node such an address; the message names pools or annotation, the reasons and the remedy."""


class AllocationRefused(BgpnetError):
    """An address is not, or no longer, whose the caller thinks it is: look at the block again."""


class AddressRests(AllocationRefused):
    """The address that was asked for was released a moment ago; the message says until when it rests."""


class JournalFailed(BgpnetError):
    """The node's journal could not be read or written."""


class KernelRefused(BgpnetError):
    """The kernel said no to one item."""


class NotAPods(KernelRefused):
    """The namespace that was handed over is none of a pod: it is the host's own."""


class AgentAway(BgpnetError):
    """Nobody answers on the agent's socket."""


class SpeakerAway(BgpnetError):
    """Nobody answers on the speaker's socket."""


class UsageError(BgpnetError):
    """The caller must change something; the message is the one sentence to show."""


class CniError(BgpnetError):
    """What the container runtime is told; codes of the CNI specification 1.0.0, section "Error".

    1 incompatible version, 4 invalid environment, 6 undecodable content, 7 invalid network configuration,
    11 try again later; 100 and up are ours: 100 internal, 101 no address, 102 wiring refused.
    """

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


LONGEST = 2000
"""How many characters of a sentence are said."""


def one_line(text: str) -> str:
    """A sentence that carries somebody's input: no line breaks or control characters, and not endless."""
    short = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return short if short.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in short)
