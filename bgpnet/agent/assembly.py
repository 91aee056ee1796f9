"""The agent's rooms, put together: what it remembers, who holds the World, who works for it, who tells it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from bgpnet import autodetect, config, conflist
from bgpnet.agent import facts, feeds, identity, scrape, secrets
from bgpnet.agent.conflist import Keeper, Place
from bgpnet.agent.events import ConflistLooked, Event, KernelLooked
from bgpnet.agent.firewall import Guard
from bgpnet.agent.journal import Contents, Journal, belongs, end_overtaken, recalled
from bgpnet.agent.loop import Loop, Outside
from bgpnet.agent.pods import Workers
from bgpnet.agent.precedence import Precedence
from bgpnet.agent.records import Records
from bgpnet.agent.server import Server
from bgpnet.agent.speech import Speech
from bgpnet.agent.status import NEEDED
from bgpnet.agent.world import Kubernetes, Me, Seen, World
from bgpnet.autodetect import Candidate, Choice, choose_address
from bgpnet.bgp.speaker import Speaker
from bgpnet.cnispec import Attachment
from bgpnet.errors import AllocationRefused, UsageError
from bgpnet.kernel.api import Kernel
from bgpnet.kernel.firewall import LinuxFirewall
from bgpnet.kernel.linux import LinuxKernel
from bgpnet.model import ip
from bgpnet.model.ipamblock import Owner
from bgpnet.store.factory import open_store
from bgpnet.store.lazy import LazyStore
from bgpnet.store.repo import Repo
from bgpnet.threads import start
from bgpnet.version import VERSION

if TYPE_CHECKING:  # the way to Kubernetes is loaded where there is one only
    from bgpnet.kube.client import Api

log = logging.getLogger("bgpnet.agent")

ADDRESS_PATIENCE = 60.0
"""Seconds that the node's address may be missing on its links (a link that comes up late) before the agent gives up."""
LOOK = 0.2
SWITCH = 0.0002
"""Seconds after which a busy thread lets another run: Python's 5 ms would be several ADDs. See precedence.py."""
COLLECT = (20_000, 20, 50)
"""When Python looks for garbage that refers to itself. Ours seldom does, and each look goes through the whole World."""


def run(settings: config.Settings, uuid: str) -> str:
    """Until SIGTERM or SIGINT; returns why the agent itself stopped, or nothing. Raises BgpnetError at the start.

    uuid: the machine's. The kernel is looked at before anybody may ask for anything, and half-made links are gone then.
    """
    sys.setswitchinterval(SWITCH)
    gc.set_threshold(*COLLECT)
    kernel, api = LinuxKernel(), _kubernetes(settings)
    me = _me(settings, uuid, kernel, api)
    journal = Journal(Path(settings.state_dir) / "journal", identity.boot())
    links = facts.seen(kernel.read())
    world = _recalled(settings, me, journal, links, facts.subnets(kernel.addressed()), api)

    store = LazyStore(partial(open_store, settings.datastore))
    store.try_now()
    repo, precedence = Repo(store), Precedence()
    loop = Loop(world, kernel, precedence)
    loop.emit(KernelLooked(links))
    kernel.reap(abandoned=True)
    server = Server(Path(settings.agent_socket), loop.emit, precedence)
    server.listen()
    workers = Workers(kernel, journal, repo, loop.emit, server.netns, settings.workers, server.awaited)
    speaker = Speaker(settings.speaker_socket, loop.emit, pause=precedence.giving_way)
    guard = Guard(LinuxFirewall(), loop.emit)
    speech = Speech(speaker, Path(settings.run_dir) / "exabgp.conf", Path(settings.speaker_socket))
    stop = threading.Event()
    _follow(settings, world, repo, kernel, loop, stop)
    start("speaker", speaker.run, stop)
    if me.firewall:
        start("rules", guard.follow, stop.is_set)
    outside = _outside(settings, api, me.node, loop.emit, stop) if api else None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    log.info("node %s, %s on %s", me.node, me.address, me.uplink)
    reason = loop.run(server, workers, Records(repo, loop.emit), speech, guard, outside)
    stop.set()
    return reason


def _recalled(
    settings: config.Settings,
    me: Me,
    journal: Journal,
    links: Mapping[Attachment, Seen],
    subnets: Mapping[ip.Network, str],
    api: Api | None,
) -> World:
    """The World as the journal has it, which begins anew with that; another node's is not used.

    links: what the kernel has, which is right where the journal is older.
    """
    boot, now = identity.boot(), time()
    contents: Contents | None = journal.load()
    if contents and not belongs(contents, boot, Owner(name=me.node, uid=me.uuid)):
        log.warning("the journal in %s is another node's: it is not used", settings.state_dir)
        contents = None
    for one in end_overtaken(contents, links, now) if contents else ():
        told = "the kernel has a later link: lines of the journal were lost, and this one is not used"
        log.warning("container %s is journalled with %s, but %s", one.container, one.address, told)
    me = replace(me, new_here=contents is None or contents.boot != boot)
    known = {"subnets": subnets, **_orchestrated(settings, api)}
    try:
        world = recalled(contents, me, boot, now, monotonic(), **known)
    except AllocationRefused as problem:  # two have one address: no start would ever get over that
        journal.keep_aside(f"contradicts itself ({problem})")
        contents, me = None, replace(me, new_here=True)
        world = recalled(None, me, boot, now, monotonic(), **known)
    journal.start(world.blocks.values(), world.pods.values(), contents.kept if contents else None)
    return world


def _follow(
    settings: config.Settings, world: World, repo: Repo, kernel: LinuxKernel, loop: Loop, stop: threading.Event
) -> None:
    """Those who tell the loop what happens, and those who ask it, each in a thread from now on."""
    emit, me = loop.emit, world.me
    for kind in NEEDED:
        start(f"feed-{kind.plural}", feeds.datastore, repo, kind, emit, stop)
    start("secrets", secrets.follow, Path(settings.secrets), os.environ, emit, stop)
    start("clock", feeds.clock, emit, stop)
    start("links", feeds.links, kernel, me, world.subnets, emit, stop)
    start("monitor", kernel.monitor, loop.changed, stop.is_set)
    if settings.cni_conf_dir:
        start("conflist", _keeper(settings, emit).run, stop)
    if settings.metrics_port:
        counted = LinuxFirewall().dropped if me.firewall else None
        place = settings.metrics_host, settings.metrics_port
        start("metrics", scrape.serve, *place, settings.agent_socket, stop, counted)
    if settings.health_port:
        start("health", scrape.health, settings.health_host, settings.health_port, settings.agent_socket, stop)


def _keeper(settings: config.Settings, emit: Callable[[ConflistLooked], None]) -> Keeper:
    return Keeper(
        Place(
            folder=Path(settings.cni_conf_dir),
            plugins=Path(settings.cni_bin_dir),
            socket=settings.agent_socket,
            chain=conflist.chain(settings.cni_plugins),
            mtu=settings.cni_mtu,
        ),
        emit,
    )


def _kubernetes(settings: config.Settings) -> Api | None:
    """The way to the API server; what it costs is paid where there is one only."""
    in_pod = os.environ.get("KUBERNETES_SERVICE_HOST")
    if settings.kubernetes == config.AUTO and not in_pod and not settings.datastore.startswith("kubernetes:"):
        return None
    from bgpnet.agent import whereabouts

    return whereabouts.api(settings.kubernetes, settings.datastore, os.environ)


def _orchestrated(settings: config.Settings, api: Api | None) -> dict[str, Any]:
    """What a World with Kubernetes has from the start: nothing is known of it yet."""
    if api is None:
        return {}
    from bgpnet.agent import kubetold, whereabouts

    namespace = whereabouts.namespace(settings.kubernetes_namespace)
    remembered = kubetold.remembered(Path(settings.state_dir) / kubetold.REMEMBERED)
    return {"namespaces": {}, "kubernetes": Kubernetes(namespace, remembered=remembered)}


def _outside(
    settings: config.Settings, api: Api, node: str, emit: Callable[[Event], None], stop: threading.Event
) -> Outside:
    """The feeds from Kubernetes, which begin now, and what the loop says to them."""
    from bgpnet.agent import kubefeeds, podevents, whereabouts

    namespace = whereabouts.namespace(settings.kubernetes_namespace)
    feeds = kubefeeds.Kubernetes(api, node, namespace, Path(settings.state_dir), emit, stop)
    told = podevents.PodEvents(api, node)
    feeds.start()
    start("pod-events", told.run, stop)
    return Outside(feeds.want, feeds.ask, told.tell)


def _me(settings: config.Settings, uuid: str, kernel: Kernel, api: Api | None) -> Me:
    node = settings.node or os.uname().nodename.lower()
    choice = _address(settings, kernel, api, node)
    return Me(
        node=node,
        uuid=uuid,
        address=choice.address,
        uplink=choice.link,
        uplink_mtu=choice.mtu,
        version=VERSION,
        as_number=settings.as_number,
        prefix_limit=settings.prefix_limit,
        firewall=settings.firewall != config.OFF,
        nat_spares_nodes=settings.nat_outgoing_exclusions == config.POOLS_AND_HOSTS,
        stops_service_loops=settings.service_loop_prevention == config.DROP,
        rest=settings.address_rest,
        leak_grace=settings.leak_grace,
        keep=settings.address_keep,
        idle_after=settings.idle_after,
    )


def _address(settings: config.Settings, kernel: Kernel, api: Api | None, node: str) -> Choice:
    """The node's address; waits for a link that comes up late, and then says what is missing."""
    pause = threading.Event()
    deadline = time() + ADDRESS_PATIENCE
    told = False
    while True:
        links = [
            Candidate(link.name, link.index, link.mtu, link.up, link.addresses, link.is_default_route)
            for link in kernel.uplinks()
        ]
        try:
            method, asked = settings.ip_autodetection_method, None
            if not settings.ip and autodetect.asks(method):
                from bgpnet.agent import whereabouts

                asked = whereabouts.told(method, api, node, Path(settings.state_dir))
            return choose_address(method, links, settings.ip, asked)
        except UsageError as problem:
            if time() >= deadline:
                raise
            if not told:
                log.warning("waiting for the node's address: %s", problem)
                told = True
        pause.wait(LOOK)
