"""What a lab wrote down about itself under /run/bgpnet-lab/<lab>, so that other commands find it, and end only it."""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bgpnet.errors import UsageError

RUN = Path("/run/bgpnet-lab")


class NodeRecord(msgspec.Struct, frozen=True):
    """A node as deployed; `pid` with `started` (clock ticks since boot, proc(5)) names its process 1 for good."""

    name: str
    container: str
    kind: str
    image: str = ""
    pid: int = 0
    started: int = 0
    env: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    log: str = ""

    @property
    def running(self) -> bool:
        """Whether its process 1 is there; a bridge is this machine's and always is."""
        return self.kind == "bridge" or (self.pid > 0 and start_time(self.pid) == self.started)


class LabRecord(msgspec.Struct, frozen=True):
    """A lab: `made` are the paths on this machine that deploy made and destroy removes, `links` the host's own ends."""

    name: str
    file: str
    complete: bool = False
    nodes: tuple[NodeRecord, ...] = ()
    made: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


@dataclass(slots=True)
class Book:
    """The record of one lab on disk, rewritten whole and atomically."""

    folder: Path
    record: LabRecord = field(default_factory=lambda: LabRecord("", ""))

    @property
    def path(self) -> Path:
        """Where it stands."""
        return self.folder / "lab.json"

    def write(self, **changes: object) -> None:
        """Change the record; afterwards a killed deploy can be undone up to here."""
        self.record = msgspec.structs.replace(self.record, **changes)
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self.record))
        os.replace(fresh, self.path)

    def read(self) -> None:
        """Load it; a lab killed before its first record reads as one with nothing in it. Raises UsageError."""
        try:
            self.record = msgspec.json.decode(self.path.read_bytes(), type=LabRecord)
        except FileNotFoundError:
            self.record = LabRecord(self.folder.name, "")
        except msgspec.MsgspecError as error:
            raise UsageError(f"{self.path}: {error}; remove {self.folder} and what it lists by hand") from error


def start_time(pid: int) -> int:
    """When the process began (field 22 of /proc/PID/stat), 0 when there is none or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def end_process(pid: int, started: int, seconds: float = 60) -> None:
    """Kill exactly that process 1, and so everything in its pid namespace, and wait until it is gone.

    Raises UsageError when it is still there after `seconds`.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if start_time(pid) != started:
            return
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        if not select.select([handle], [], [], seconds)[0]:
            raise UsageError(f"process {pid} of the lab did not end within {seconds:g} s: look at /proc/{pid}/stack")
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
