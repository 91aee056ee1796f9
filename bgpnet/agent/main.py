"""`bgpnet agent`: puts the rooms together and runs the loop. The only file of the agent that talks to a person."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import click

from bgpnet import config
from bgpnet.errors import UsageError

if TYPE_CHECKING:
    from bgpnet.agent.conflist import Keeper
    from bgpnet.agent.events import ConflistLooked, Event
    from bgpnet.agent.loop import Outside
    from bgpnet.agent.world import Me
    from bgpnet.autodetect import Choice
    from bgpnet.kernel.api import Kernel
    from bgpnet.kube.client import Api

ADDRESS_PATIENCE = 60.0
"""Seconds that the node's address may be missing on its links (a link that comes up late) before the agent gives up."""
LOOK = 0.2
SWITCH = 0.0002
"""Seconds after which a busy thread lets another run: Python's 5 ms would be several ADDs. See precedence.py."""
COLLECT = (20_000, 20, 50)
"""When Python looks for garbage that refers to itself. Ours seldom does, and each look goes through the whole World."""
DESCRIPTORS = 1 << 16
"""How many the agent may have open, where it is allowed them: a request has two, and systemd's default is 1024."""


def _flags(command: Callable[..., None]) -> Callable[..., None]:
    for row in reversed(config.SETTINGS):
        text = f"{row.help} [{row.env}; default: {row.default if row.default not in ('', None) else 'none'}]"
        command = click.option(row.flag, row.name, default=None, metavar="VALUE", help=text)(command)
    return command


@click.command("agent", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config", "file", default=config.FILE, show_default=True, metavar="FILE", help="the settings file (YAML)"
)
@_flags
def command(file: str, **flags: object) -> None:
    """Run this node's agent: addresses for pods, their wiring, routes, and what BGP peers are told.

    Every setting is a key of the settings file, beaten by its environment variable, beaten by its flag. The agent may
    be killed at any moment: what it made stays, and its successor takes it over as it is.

    Where none of them names a datastore, DATASTORE_TYPE and ETCD_ENDPOINTS do, as for bgpnetctl; etcd's certificates
    and user are those of ETCD_CA_CERT_FILE, ETCD_CERT_FILE, ETCD_KEY_FILE, ETCD_USERNAME and ETCD_PASSWORD.

    \b
    Examples:
      bgpnet agent
      bgpnet agent --node node1 --ip 192.0.2.1/24 --datastore sqlite:///srv/bgpnet/store.db
      ETCD_CA_CERT_FILE=/etc/bgpnet/ca.pem bgpnet agent --datastore etcd://10.0.0.1:2379,10.0.0.2:2379
      BGPNET_IP_AUTODETECTION_METHOD=interface=eth.* bgpnet agent --log-level debug
    """
    settings = config.load(_with_datastore(_read(file), os.environ, flags), os.environ, flags)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(message)s", stream=sys.stderr
    )
    reason = run(settings)
    if reason:
        click.echo(f"bgpnet agent: {reason}", err=True)
    logging.shutdown()
    os._exit(1 if reason else 0)  # not by way of the interpreter's end: a thread in the middle of TLS crashes there


def _read(file: str) -> Mapping[str, object]:
    """The settings file; the default one may be missing."""
    import yaml

    try:
        text = Path(file).read_text()
    except FileNotFoundError:
        if file == config.FILE:
            return {}
        raise UsageError(f"the settings file {file} does not exist: create it, or leave --config out") from None
    except OSError as problem:
        raise UsageError(f"the settings file {file} cannot be read: {problem.strerror}") from problem
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise UsageError(f"the settings file {file} is not YAML: {' '.join(str(problem).split())}") from problem
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UsageError(f"the settings file {file} is not a mapping: write lines such as node: node1")
    return found


def _with_datastore(
    said: Mapping[str, object], environ: Mapping[str, str], flags: Mapping[str, object]
) -> Mapping[str, object]:
    """The settings file, with the datastore that calicoctl's variables name where nothing else does."""
    if said.get("datastore") or environ.get("BGPNET_DATASTORE") or flags.get("datastore"):
        return said
    from bgpnet.store import choice

    found = choice.of_environment(environ)
    return {**said, "datastore": found.url} if found else said


def run(settings: config.Settings) -> str:
    """Until SIGTERM or SIGINT; returns why the agent itself stopped, or nothing. Raises BgpnetError at the start."""
    from bgpnet.agent import identity

    _take_descriptors()
    uuid = identity.machine(Path(settings.state_dir))
    with identity.alone(Path(settings.state_dir)):
        return _run(settings, uuid)


def _take_descriptors() -> None:
    """The default is low for programs that call select(2), of which this is none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _run(settings: config.Settings, uuid: str) -> str:
    from bgpnet import reservations
    from bgpnet.agent import facts, feeds, identity, scrape, secrets
    from bgpnet.agent.events import KernelLooked
    from bgpnet.agent.firewall import Guard
    from bgpnet.agent.journal import Journal, Kept, belongs, restore
    from bgpnet.agent.loop import Loop
    from bgpnet.agent.pods import Workers
    from bgpnet.agent.precedence import Precedence
    from bgpnet.agent.records import Records
    from bgpnet.agent.server import Server
    from bgpnet.agent.speech import Speech
    from bgpnet.agent.status import NEEDED
    from bgpnet.agent.world import World
    from bgpnet.bgp.speaker import Speaker
    from bgpnet.kernel.firewall import LinuxFirewall
    from bgpnet.kernel.linux import LinuxKernel
    from bgpnet.model.ipamblock import Owner
    from bgpnet.store.factory import open_store
    from bgpnet.store.lazy import LazyStore
    from bgpnet.store.repo import Repo
    from bgpnet.threads import start

    sys.setswitchinterval(SWITCH)
    gc.set_threshold(*COLLECT)
    run_dir, state_dir = Path(settings.run_dir), Path(settings.state_dir)
    kernel = LinuxKernel()
    api = _kubernetes(settings)
    me = _me(settings, uuid, kernel, api)
    journal = Journal(state_dir / "journal", identity.boot())
    contents = journal.load()
    if contents and not belongs(contents, identity.boot(), Owner(name=me.node, uid=uuid)):
        logging.getLogger("bgpnet.agent").warning("the journal in %s is another node's: it is not used", state_dir)
        contents = None
    now = time()
    blocks, pods = restore(contents, identity.boot(), now) if contents else ({}, {})
    kept = contents.kept if contents else Kept(())
    journal.start(blocks.values(), pods.values(), kept)
    subnets = facts.subnets(kernel.addressed())
    world = World(
        me=me,
        now=now,
        clock=monotonic(),
        blocks=blocks,
        pods=pods,
        journalled=contents is not None,
        reserved=reservations.of_networks(kept.cidrs),
        cooldown=kept.cooldown,
        subnets=subnets,
        **_orchestrated(settings, api),
    )

    store = LazyStore(partial(open_store, settings.datastore))
    store.try_now()
    repo = Repo(store)
    precedence = Precedence()
    loop = Loop(world, kernel, precedence)
    loop.emit(KernelLooked(facts.seen(kernel.read())))
    kernel.reap(abandoned=True)
    server = Server(Path(settings.agent_socket), loop.emit, precedence)
    server.listen()
    workers = Workers(kernel, journal, repo, loop.emit, server.netns, settings.workers, server.awaited)
    speaker = Speaker(settings.speaker_socket, loop.emit, pause=precedence.giving_way)
    guard = Guard(LinuxFirewall(), loop.emit)
    speech = Speech(speaker, run_dir / "exabgp.conf", Path(settings.speaker_socket))
    stop = threading.Event()
    for kind in NEEDED:
        start(f"feed-{kind.plural}", feeds.datastore, repo, kind, loop.emit, stop)
    start("secrets", secrets.follow, Path(settings.secrets), os.environ, loop.emit, stop)
    start("clock", feeds.clock, loop.emit, stop)
    start("links", feeds.links, kernel, me, subnets, loop.emit, stop)
    start("speaker", speaker.run, stop)
    if settings.metrics_port:
        counted = LinuxFirewall().dropped if me.firewall else None
        place = settings.metrics_host, settings.metrics_port
        start("metrics", scrape.serve, *place, settings.agent_socket, stop, counted)
    if settings.health_port:
        start("health", scrape.health, settings.health_host, settings.health_port, settings.agent_socket, stop)
    outside = _outside(settings, api, me.node, loop.emit, stop) if api else None
    if settings.cni_conf_dir:
        start("conflist", _keeper(settings, loop.emit).run, stop)
    start("monitor", kernel.monitor, loop.changed, stop.is_set)
    if me.firewall:
        start("rules", guard.follow, stop.is_set)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    logging.getLogger("bgpnet.agent").info("node %s, %s on %s", me.node, me.address, me.uplink)
    reason = loop.run(server, workers, Records(repo, loop.emit), speech, guard, outside)
    stop.set()
    return reason


def _keeper(settings: config.Settings, emit: Callable[[ConflistLooked], None]) -> Keeper:
    from bgpnet import conflist
    from bgpnet.agent.conflist import Keeper, Place

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
    from bgpnet.agent.world import Kubernetes

    namespace = whereabouts.namespace(settings.kubernetes_namespace)
    remembered = kubetold.remembered(Path(settings.state_dir) / kubetold.REMEMBERED)
    return {"namespaces": {}, "kubernetes": Kubernetes(namespace, remembered=remembered)}


def _outside(
    settings: config.Settings, api: Api, node: str, emit: Callable[[Event], None], stop: threading.Event
) -> Outside:
    """The feeds from Kubernetes, which begin now, and what the loop says to them."""
    from bgpnet.agent import kubefeeds, podevents, whereabouts
    from bgpnet.agent.loop import Outside
    from bgpnet.threads import start

    namespace = whereabouts.namespace(settings.kubernetes_namespace)
    feeds = kubefeeds.Kubernetes(api, node, namespace, Path(settings.state_dir), emit, stop)
    told = podevents.PodEvents(api, node)
    feeds.start()
    start("pod-events", told.run, stop)
    return Outside(feeds.want, feeds.ask, told.tell)


def _me(settings: config.Settings, uuid: str, kernel: Kernel, api: Api | None) -> Me:
    from bgpnet.agent.world import Me
    from bgpnet.version import VERSION

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
    from bgpnet import autodetect
    from bgpnet.autodetect import Candidate, choose_address

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
                logging.getLogger("bgpnet.agent").warning("waiting for the node's address: %s", problem)
                told = True
        pause.wait(LOOK)
