"""Make the speaker match the plan: its configuration file, and what each peer is told."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from bgpnet.bgp.conf import SpeakerConf, render
from bgpnet.bgp.export import Advert
from bgpnet.bgp.speaker import Speaker
from bgpnet.errors import SpeakerAway
from bgpnet.model.ip import Address, Network
from bgpnet.threads import start

log = logging.getLogger("bgpnet.agent")

Wish = tuple[SpeakerConf | None, Mapping[Address, frozenset[Advert]] | None, frozenset[Address], frozenset[Network]]


class Speech:
    """One thread, the latest wish. What cannot be said while the speaker is away is said when it is back."""

    def __init__(self, speaker: Speaker, conf: Path, relay_socket: Path) -> None:
        self._speaker = speaker
        self._conf = conf
        self._relay = (sys.executable, "-m", "bgpnet.bgp.relay", str(relay_socket))
        self._wish: Wish = (None, None, frozenset(), frozenset())
        self._new = threading.Event()
        self._lock = threading.Lock()
        start("speech", self._run)

    def set(
        self,
        conf: SpeakerConf | None,
        exports: Mapping[Address, frozenset[Advert]] | None,
        unsettled: frozenset[Address] = frozenset(),
        held: frozenset[Network] = frozenset(),
    ) -> None:
        """What the speaker should do; None leaves that part as it is."""
        with self._lock:
            self._wish = (conf, exports, unsettled, held)
        self._new.set()

    def _run(self) -> None:
        told = ""
        while True:
            self._new.wait()
            self._new.clear()
            with self._lock:
                conf, exports, unsettled, held = self._wish
            try:
                if conf is not None and self._write(render(conf, self._relay)):
                    self._speaker.reload()
                if exports is not None:
                    self._speaker.set(exports, unsettled, held)
            except SpeakerAway as problem:
                # Its return is an event, after which the loop plans and wishes again.
                if str(problem) != told:
                    log.warning("%s", problem)
                told = str(problem)
            except OSError as problem:
                refused = f"{self._conf} cannot be written: {problem.strerror}; see to the disk of the run directory"
                if refused != told:
                    log.warning("%s", refused)
                told = refused
            else:
                told = ""

    def _write(self, text: str) -> bool:
        """Put the file in place in one step; false when it says the same already."""
        try:
            if self._conf.read_text() == text:
                return False
        except FileNotFoundError:
            pass
        fresh = self._conf.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text)
        fresh.rename(self._conf)
        return True
