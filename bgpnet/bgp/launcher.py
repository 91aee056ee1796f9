"""ExaBGP 5.0.15 in this process, with what it needs to serve a node corrected. The one door to exabgp.

The corrections, each for a fault that was reproduced with the stock release (tests/integration/test_speaker_real.py):

1. the descriptor of a lost session stays in the poll set, and every turn of the loop then sleeps 10 ms: it is removed;
2. the loop sleeps although commands are queued: it does not;
3. of two commands for one prefix in the outgoing queue, the earlier one may be sent last: the last one wins;
4. connections that ExaBGP opens delay small messages (Nagle): TCP_NODELAY, as on those it accepts;
5. the pause between attempts to connect grows to 60 s: it ends at BACK_OFF;
6. a reload is forgotten when some neighbour has updates to be sent: it is not;
7. a SIGTERM that comes while a reload is under way is ignored: it is heeded;
8. of a connection that the peer opens, the TTL of what arrives is not checked although `incoming-ttl` says so, and the
   listening socket answers with a TTL that a peer which checks it drops: both as RFC 5082 has it;
9. at DEBUG, the log has every line of the configuration, passwords among them: it has none;
10. a peer towards which the kernel chooses our address ends ExaBGP when it connects before we have, and `next-hop self`
    fails after a reload: until there is a session, our address is the router id;
11. every message costs a turn of the loop, a dozen system calls and a line of its own for the helper, and what is not
    logged is prepared for the log: plain UPDATEs go another way (express.py), and what is not logged costs nothing;
12. `show neighbor` says that a peer restarts gracefully, but not for how long it asks to be waited for: it does;
13. why an attempt to connect failed, or a connection was lost, is not told to the helper: the errno's name is.

A reload also follows a changed listening address or port, and a changed log level.
"""

from __future__ import annotations

import errno
import gc
import os
import re
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from bgpnet.bgp import express
from bgpnet.bgp.conf import read_environment
from bgpnet.errors import UsageError

VERSION = "5.0.15"
BACK_OFF = 1
"""Seconds between two attempts to connect, at most."""

COLLECT = (20_000, 20, 50)
"""When Python looks for garbage that refers to itself (gc.set_threshold): as the agent has it, for tables as large."""

LOOK = 0.02
"""Seconds between two looks for a configuration file that is not there yet."""


def serve(conf: Path, say: Callable[[str], None]) -> int:
    """Run ExaBGP with this configuration file, once it is there, until SIGTERM; its exit code.

    `say` takes one line for people. Raises UsageError when another version of ExaBGP is installed, and SystemExit(0)
    when told to end before ExaBGP runs. To be called in the main thread, which is where signals arrive.
    """
    check_version(installed())
    signal.signal(signal.SIGTERM, _leave)
    settings = awaited(conf, say)
    os.environ.update(settings)
    return _run(conf, settings)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def check_version(found: str) -> None:
    """Raises UsageError unless the corrections fit this version of ExaBGP; empty when there is none."""
    if found != VERSION:
        raise UsageError(
            f"exabgp {VERSION} is needed and {found or 'none'} is installed; run: pip install exabgp=={VERSION}"
        )


def installed() -> str:
    """The version of ExaBGP that is installed; empty when there is none."""
    try:
        return metadata.version("exabgp")
    except metadata.PackageNotFoundError:
        return ""


def awaited(conf: Path, say: Callable[[str], None]) -> Mapping[str, str]:
    """The file's settings, once it is there and this machine has the addresses that are to be listened on.

    The file may be older than the node's address: ExaBGP would end at once, and who supervises it wait longer each
    time, though the agent writes the file anew a moment later.
    """
    pause, said = threading.Event(), ""
    while True:
        settings, lacking = _read(conf)
        if not lacking:
            return settings
        if lacking != said:
            say(lacking)
            said = lacking
        pause.wait(LOOK)


def _read(conf: Path) -> tuple[Mapping[str, str], str]:
    """The file's settings, and what is waited for before they can be followed; empty for nothing."""
    try:
        settings = read_environment(conf.read_text())
    except FileNotFoundError:
        return {}, f"waiting for {conf}, which the agent writes"
    gone = [one for one in _listening(settings)[0].split() if not _is_here(one)]
    if not gone:
        return settings, ""
    return settings, f"waiting for {', '.join(gone)}, on which {conf} has ExaBGP listen: no link has it"


def _is_here(address: str) -> bool:
    """Whether it can be listened on, at whatever port."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, 0))
        except OSError as problem:
            return problem.errno != errno.EADDRNOTAVAIL
    return True


def _listening(settings: Mapping[str, str]) -> tuple[str, str]:
    return settings["exabgp_tcp_bind"], settings["exabgp_tcp_port"]


def _run(conf: Path, settings: Mapping[str, str]) -> int:
    # imported late, as everything of exabgp is: it reads its environment when it is first imported
    from exabgp.configuration.configuration import Configuration
    from exabgp.environment import getenv
    from exabgp.logger import log

    corrected = _corrected(conf, settings)
    gc.set_threshold(*COLLECT)
    _correct()
    log.init(getenv())
    _correct_debug()
    _correct_reading()
    reactor = corrected(Configuration([str(conf)]))
    _correct_self(reactor)
    return int(reactor.run())


def _heeded() -> type[Any]:
    """exabgp's signals, with correction 7."""
    from exabgp.reactor.interrupt import Signal

    class Heeded(Signal):  # type: ignore[misc]  # exabgp has no types
        """Correction 7: whatever else is being handled when SIGTERM comes, it is handled next."""

        ending = False

        def sigterm(self, number: int, frame: FrameType | None) -> None:
            self.ending = True
            super().sigterm(number, frame)

        def rearm(self) -> None:
            super().rearm()
            if self.ending:
                self.received, self.number = Signal.SHUTDOWN, signal.SIGTERM

    return Heeded


def _corrected(conf: Path, settings: Mapping[str, str]) -> type[Any]:
    """exabgp's loop, with corrections 1, 2 and 6, and a reload that follows the listening address."""
    from exabgp.logger.option import option
    from exabgp.protocol.ip import IP
    from exabgp.reactor.loop import Reactor

    class Corrected(Reactor):  # type: ignore[misc]  # exabgp has no types
        """The loop, with corrections 1, 2 and 6, and a reload that follows the listening address."""

        listening = _listening(settings)

        def __init__(self, configuration: Any) -> None:
            super().__init__(configuration)
            self.signal = _heeded()()

        def _wait_for_io(self, sleep: int) -> Iterator[int]:
            if not self.asynchronous.ready():
                sleep = 0
            try:
                for fd, event in self._poller.poll(sleep):
                    if event & (select.POLLIN | select.POLLPRI):
                        yield fd
                    elif event & select.POLLNVAL:
                        self._poller.unregister(fd)
                    else:
                        self._prevent_spin()
            except KeyboardInterrupt:
                self._termination("^C received", self.Exit.normal)

        def _pending_adjribout(self) -> bool:
            return False

        def reload(self) -> bool:
            fresh = read_environment(conf.read_text())
            listening = _listening(fresh)
            if listening != self.listening:
                self.listening = listening
                self._ips, self._port = [IP.create(one) for one in listening[0].split()], int(listening[1])
                # first, because "everywhere" and one address cannot both be listened on at one port
                self.listener.close_unwanted({(one.top(), self._port) for one in self._ips})
                for one in self._ips:
                    self.listener.listen_on(one, None, self._port, None, False, None)
            if fresh["exabgp_log_level"] != option.level:
                option._set_level(fresh["exabgp_log_level"])
                option.logger.setLevel(fresh["exabgp_log_level"])
                _correct_debug()
            done = bool(super().reload())
            for key, neighbour in self.configuration.neighbors.items():
                if neighbour.auto_discovery:
                    ours = _own_end(self, neighbour) or IP.create(neighbour["router-id"].top())
                    neighbour["local-address"] = self._peers[key].neighbor["local-address"] = ours
            return done

    return Corrected


def _correct() -> None:
    """Corrections 3, 4 and 5, where ExaBGP makes the objects itself; and 8 and 9."""
    from exabgp.reactor.delay import Delay
    from exabgp.reactor.network.outgoing import Outgoing
    from exabgp.rib.outgoing import OutgoingRIB

    update_rib, setup = OutgoingRIB._update_rib, Outgoing._setup

    def last_wins(rib: Any, change: Any) -> Any:
        index = change.index()
        earlier = rib._new_nlri.get(index)
        if earlier is not None:
            families = rib._new_attr_af_nlri.get(earlier.attributes.index(), {})
            families.get(earlier.nlri.family().afi_safi(), {}).pop(index, None)
        return update_rib(rib, change)

    def without_delay(connection: Any) -> Any:
        problem = setup(connection)
        if connection.io is not None:
            connection.io.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return problem

    def increase(delay: Any) -> None:
        delay._time = time.time() + delay._next
        delay._next = min(int(1 + delay._next * 1.2), BACK_OFF)

    _correct_ttl()
    _correct_log()
    _correct_reasons()
    _correct_restart_time()
    OutgoingRIB._update_rib = last_wins
    Outgoing._setup = without_delay
    Delay.increase = increase


def _correct_self(reactor: Any) -> None:
    """Correction 10: of an address that the kernel chose, only the neighbour of the session knows."""
    from exabgp.bgp.neighbor import Neighbor
    from exabgp.protocol.ip import IP
    from exabgp.reactor.peer import Peer

    ip_self, handle = Neighbor.ip_self, Peer.handle_connection

    def accepted(peer: Any, connection: Any) -> Any:
        denied = handle(peer, connection)
        if denied is None and peer.neighbor.auto_discovery:
            peer.neighbor["local-address"] = IP.create(connection.peer)  # which is what it calls our end
        return denied

    def of_session(neighbour: Any, afi: Any) -> Any:
        return (neighbour.auto_discovery and _own_end(reactor, neighbour)) or ip_self(neighbour, afi)

    Neighbor.ip_self = of_session
    Peer.handle_connection = accepted


def _own_end(reactor: Any, neighbour: Any) -> Any:
    """Our address in the session with the neighbour, if there is one."""
    for peer in reactor._peers.values():
        if peer.neighbor["peer-address"] == neighbour["peer-address"] and peer.proto and peer.established():
            return peer.proto.neighbor["local-address"]
    return None


def _correct_ttl() -> None:
    """Correction 8."""
    from exabgp.protocol.family import AFI
    from exabgp.reactor import listener
    from exabgp.reactor.network.tcp import GTSM_SENDING_TTL, set_minimum_ttl, set_sending_ttl

    new_socket, set_accepted = listener.Listener._new_socket, listener.set_accepted_ttl

    def far_reaching(self: Any, ip: Any) -> Any:
        made = new_socket(self, ip)
        set_sending_ttl(made, AFI.ipv6 if ip.ipv6() else AFI.ipv4, ip.top(), GTSM_SENDING_TTL)
        return made

    def checked(connection: Any, neighbour: Any) -> None:
        if connection.io is not None:
            set_minimum_ttl(connection.io, connection.afi, connection.peer, neighbour["incoming-ttl"])
        set_accepted(connection, neighbour)

    listener.Listener._new_socket = far_reaching
    listener.set_accepted_ttl = checked


def _correct_log() -> None:
    """Correction 9."""
    from exabgp.logger.option import option

    enabled = option.log_enabled

    def without_configuration(source: str, level: str) -> bool:
        return bool(enabled(source, level)) and not (level == "DEBUG" and source == "configuration")

    option.log_enabled = without_configuration


def _correct_reasons() -> None:
    """Correction 13. A failed dial counts as connected in ExaBGP until it writes; that is left as it is."""
    from exabgp.reactor.network import outgoing
    from exabgp.reactor.peer import Peer

    failed: WeakKeyDictionary[socket.socket, int] = WeakKeyDictionary()
    establish, reset = outgoing.Outgoing.establish, Peer._reset

    def ready(io: socket.socket) -> Iterator[tuple[bool, str]]:
        poller = select.poll()
        poller.register(io, select.POLLOUT)
        while not poller.poll(0):
            yield False, "waiting for socket to become ready"
        if number := io.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            failed[io] = number
        yield True, "connected, or not"

    def established(connection: Any) -> Iterator[bool]:
        for step in establish(connection):
            connection.failure = failed.get(connection.io, 0) if connection.io is not None else 0
            yield step

    def told(peer: Any, message: str = "", error: object = "") -> None:
        if message == "closing connection":
            number = getattr(peer.proto.connection, "failure", 0) if peer.proto else 0
            name = errno.errorcode.get(number) or next(iter(re.findall(r"\bE[A-Z]{3,}\b", str(error))), "")
            message += f" ({name})" if name else ""
        reset(peer, message, error)

    outgoing.ready = ready
    outgoing.Outgoing.establish = established
    Peer._reset = told


def _correct_restart_time() -> None:
    """Correction 12."""
    from exabgp.bgp.message.open.capability import Capability
    from exabgp.reactor.peer import Peer

    told = Peer.cli_data

    def with_time(peer: Any) -> Any:
        data = told(peer)
        opened = peer.proto and peer.proto.negotiated.received_open
        found = opened.capabilities.get(Capability.CODE.GRACEFUL_RESTART) if opened else None
        if found is not None:
            ours, _ = data["capabilities"]["graceful-restart"]
            data["capabilities"]["graceful-restart"] = (ours, found.restart_time)
        return data

    Peer.cli_data = with_time


def _correct_debug() -> None:
    """Correction 11, of what is not logged: a million calls for 10,000 routes."""
    from exabgp.logger import log
    from exabgp.logger.option import option

    def unheard(message: Any, source: str = "", level: str = "") -> None:
        pass

    if option.level != "DEBUG":
        log.debug = unheard
    elif "debug" in vars(log):
        del log.debug  # what it inherits is heard again


def _correct_reading() -> None:
    """Correction 11, of UPDATEs."""
    from exabgp.bgp.fsm import FSM
    from exabgp.bgp.message import Action, Notify
    from exabgp.bgp.message.direction import Direction
    from exabgp.bgp.message.update.attribute import Attribute, Attributes
    from exabgp.bgp.message.update.nlri import NLRI
    from exabgp.protocol.family import AFI, SAFI
    from exabgp.reactor import protocol
    from exabgp.reactor.network.connection import Connection
    from exabgp.rib.change import Change

    code = Attribute.CODE

    def attributes(wire: bytes, negotiated: Any) -> Any:
        try:
            return Attributes.unpack(wire, Direction.IN, negotiated)
        except (Notify, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error):
            return None  # and decoded again by exabgp itself, which then says what is wrong

    def change(wire: bytes, found: Any) -> Any:
        nlri, _ = NLRI.unpack_nlri(AFI.ipv4, SAFI.unicast, wire, Action.ANNOUNCE, False)
        nlri.nexthop = found.get(code.NEXT_HOP)
        return Change(nlri, found)

    sample = b"\x08\x0a"
    parts = express.Parts(
        attributes=attributes,
        special=frozenset(
            (
                code.INTERNAL_TREAT_AS_WITHDRAW,
                code.INTERNAL_DISCARD,
                code.MP_REACH_NLRI,
                code.MP_UNREACH_NLRI,
            )
        ),
        next_hop=code.NEXT_HOP,
        change=change,
        family=(AFI.ipv4, SAFI.unicast),
        first=change(sample, {}).index().removesuffix(sample),
        received=protocol._UPDATE,
        nothing=protocol._NOP,
        established=FSM.ESTABLISHED,
    )
    Connection._reader = express.reader(Connection._reader)
    protocol.Protocol.read_message = express.messages(protocol.Protocol.read_message, parts)
