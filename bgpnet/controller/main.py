"""`bgpnet controller`: puts the rooms together and runs the loop. The only file of the controller that prints."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING

import click

from bgpnet.controller import settings as rows
from bgpnet.controller.settings import SETTINGS, Settings
from bgpnet.errors import UsageError

if TYPE_CHECKING:
    from bgpnet.controller.hands import Hands
    from bgpnet.controller.janitor import Plan
    from bgpnet.controller.loop import Controller
    from bgpnet.controller.picture import Memory, Picture, Rules
    from bgpnet.kube.client import Api
    from bgpnet.store.repo import Repo

ROUNDS = 100
"""How often `--once` looks again at most: each round does something, and a node's clean-up is one."""
ANSWERS = 1.0
"""Seconds between two looks for the owners' answers, with `--once`."""
ENDS = (signal.SIGTERM, signal.SIGINT)
LAST = 12.0
"""Seconds that an action in progress may take to end; what is cut off is seen again by the next controller."""
NO_CLUSTER = "no Kubernetes API is known: only what the datastore itself tells is done; set KUBECONFIG to change that"


def _flags(command: Callable[..., None]) -> Callable[..., None]:
    for row in reversed(SETTINGS):
        text = f"{row.help} [{row.env}; default: {row.default if row.default not in ('', None) else 'none'}]"
        command = click.option(row.flag, row.name, default=None, metavar="VALUE", help=text)(command)
    return command


@click.command("controller", context_settings={"help_option_names": ["-h", "--help"]})
@_flags
@click.option("--once", is_flag=True, help="Do what is to be done now, tell it, and end.")
@click.option("--dry-run", is_flag=True, help="With --once: only tell what would be done.")
@click.option(
    "--settle", default=10.0, show_default=True, metavar="SECONDS",
    type=click.FloatRange(0, 600), help="With --once: the time between two looks at what seems to be leaked.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="With --once: the form.")
def command(once: bool, dry_run: bool, settle: float, output: str, **flags: object) -> None:
    """Clean up after pods and nodes that are gone, and keep Nodes, pools and conditions as they should be.

    One is enough for a cluster, and two do no harm. Without a Kubernetes API only what the datastore itself tells is
    done. Every setting is an environment variable, beaten by its flag. See docs/controller.md.

    \b
    Examples:
      bgpnet controller --datastore kubernetes:
      bgpnet controller --once --dry-run
      bgpnet controller --datastore etcd://10.0.0.1:2379 --kubeconfig admin.conf --leak-grace-period 5m
    """
    if dry_run and not once:
        raise click.UsageError("--dry-run needs --once: what is to be done is told of one look")
    settings = rows.load(os.environ, _with_datastore(os.environ, flags))
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)-7s %(message)s", stream=sys.stderr)
    logging.getLogger("bgpnet").setLevel(settings.log_level.upper())  # the HTTP client would tell of every request
    if not once:
        run(settings)
    elif not once_(settings, dry_run, settle, output):
        sys.exit(1)


def _with_datastore(environ: Mapping[str, str], flags: Mapping[str, object]) -> Mapping[str, object]:
    """The flags, with the datastore that calicoctl's variables name where nothing else does."""
    if environ.get("BGPNET_DATASTORE") or flags.get("datastore"):
        return flags
    from bgpnet.store import choice

    found = choice.of_environment(environ)
    return {**flags, "datastore": found.url} if found else flags


def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT; raises BgpnetError at the start."""
    from bgpnet.controller import feeds
    from bgpnet.controller.hands import Hands
    from bgpnet.controller.loop import Controller
    from bgpnet.controller.view import View
    from bgpnet.store.factory import open_store
    from bgpnet.store.lazy import LazyStore
    from bgpnet.store.repo import Repo
    from bgpnet.threads import start

    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # for the threads, too: the main one waits for them
    log = logging.getLogger("bgpnet.controller")
    url, kubeconfig = _places(settings, os.environ)
    api = _api(kubeconfig)
    store = LazyStore(partial(open_store, url))
    store.try_now()
    repo = Repo(store)
    view = View(api is not None, monotonic, keeps=is_one_api(url, kubeconfig))
    controller = Controller(view, Hands(repo, api), _rules(settings), settings.reconciler_period)
    stop = threading.Event()
    log.info("datastore %s, %s", url.partition("@")[2] or url, api or NO_CLUSTER)
    feeds.start_all(repo, api, view, stop)
    if settings.metrics_port:
        _serve(settings, controller, stop)
    loop = start("loop", controller.run, stop)
    log.info("signal %s: it ends", signal.Signals(signal.sigwait(ENDS)).name)
    stop.set()
    view.news.set()
    loop.join(LAST)
    logging.shutdown()
    os._exit(0)  # not by way of the interpreter's end: feeds that are in the middle of TLS crashed it there


def _serve(settings: Settings, controller: Controller, stop: threading.Event) -> None:
    from bgpnet.exposition import CONTENT_TYPE
    from bgpnet.port import Page, Port
    from bgpnet.threads import start

    pages = {
        "/metrics": Page(controller.text, CONTENT_TYPE),
        "/livez": Page(controller.livez),
        "/readyz": Page(controller.readyz),
    }
    remedy = "set BGPNET_METRICS_HOST and BGPNET_METRICS_PORT"
    start("metrics", Port(settings.metrics_host, settings.metrics_port, pages, remedy).run, stop)


def once_(settings: Settings, dry_run: bool, settle: float, output: str) -> bool:
    """One look, told, and unless it is a rehearsal done; whether nothing failed. Raises BgpnetError."""
    from bgpnet.controller import listing
    from bgpnet.store.factory import open_store
    from bgpnet.store.repo import Repo

    url, kubeconfig = _places(settings, os.environ)
    rules = replace(_rules(settings), at_once=True)
    with ExitStack() as closing_:
        api = _api(kubeconfig)
        if api is None:
            click.echo(f"bgpnet controller: {NO_CLUSTER}", err=True)
        else:
            closing_.enter_context(closing(api))
        store = closing_.enter_context(closing(open_store(url)))
        repo = Repo(store)
        look = partial(_look, repo, api, is_one_api(url, kubeconfig))
        told, fine = _once(repo, api, look, rules, settle, dry_run)
    click.echo(json.dumps(told, indent=2) if output == "json" else listing.table(told), nl=output == "json")
    return fine


def _once(
    repo: Repo, api: Api | None, look: Callable[[], Picture], rules: Rules, settle: float, dry_run: bool
) -> tuple[list[dict[str, object]], bool]:
    """The rows, and whether nothing failed."""
    from bgpnet.controller import listing
    from bgpnet.controller.hands import Hands
    from bgpnet.controller.janitor import plan
    from bgpnet.controller.picture import Memory

    memory, wished = plan(look(), Memory(), rules)
    if wished.suspects:
        threading.Event().wait(settle)
        memory, wished = plan(look(), memory, rules)
    if dry_run:
        return listing.rows(wished, monotonic()), True
    return _all(Hands(repo, api), look, rules, memory, wished)


def _all(
    hands: Hands, look: Callable[[], Picture], rules: Rules, memory: Memory, wished: Plan
) -> tuple[list[dict[str, object]], bool]:
    """Plan after plan, until there is nothing more to do and every owner has answered; each row once."""
    from bgpnet.controller import asks, listing
    from bgpnet.controller.hands import Outcome
    from bgpnet.controller.janitor import plan

    told: list[dict[str, object]] = []
    fine = True
    for _ in range(ROUNDS):
        done = [hands.carry_out(action) for action in wished.actions]
        fine = fine and not any(one.outcome in (Outcome.FAILED, Outcome.AWAY) for one in done)
        words = {place: f"{one.outcome}: {one.why}" if one.why else str(one.outcome) for place, one in enumerate(done)}
        told += [row for row in listing.rows(wished, monotonic(), words) if "outcome" in row]
        picture = look()
        memory, wished = plan(picture, memory, rules)
        open_, stuck = asks.latest(picture), done and not any(one.outcome is Outcome.DONE for one in done)
        if not fine or not (open_ or wished.actions) or (stuck and not open_):
            break
        if not wished.actions:
            threading.Event().wait(ANSWERS)
    return [*told, *(row for row in listing.rows(wished, monotonic()) if row["inSeconds"] != 0)], fine


def _look(repo: Repo, api: Api | None, keeps: bool) -> Picture:
    from bgpnet.controller import feeds
    from bgpnet.controller.view import View
    from bgpnet.errors import BgpnetError

    view = View(api is not None, monotonic, keeps=keeps)
    feeds.look(repo, api, view)
    picture = view.picture(time())
    if picture is None:
        raise BgpnetError(view.missing()[0])
    return picture


def _rules(settings: Settings) -> Rules:
    from bgpnet.controller.picture import Rules

    return Rules(leak_grace=settings.leak_grace_period, silence=settings.node_silence, down=settings.network_down_after)


def _places(settings: Settings, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """The datastore's URL and the kubeconfig: with `kubernetes:`, both are of one cluster unless two are named.

    The second is empty for what KUBECONFIG, the pod or the home directory says; None where nothing says where the
    Kubernetes API is, or it is switched off. Raises UsageError.
    """
    scheme, _, path = settings.datastore.partition(":")
    inside = scheme == "kubernetes"
    kubeconfig = settings.kubeconfig or (path.removeprefix("//") if inside else "")
    url = settings.datastore
    if inside and not path and kubeconfig:
        url = f"kubernetes://{Path(kubeconfig).absolute()}"
    if settings.kubernetes == "off":
        if settings.kubeconfig:
            raise UsageError(f"--kubeconfig is {settings.kubeconfig!r} and --kubernetes is off: leave one of them out")
        return url, None
    named = kubeconfig or environ.get("KUBECONFIG") or environ.get("KUBERNETES_SERVICE_HOST") or inside
    return url, kubeconfig if named or Path("~/.kube/config").expanduser().is_file() else None


def is_one_api(url: str, kubeconfig: str | None) -> bool:
    """Whether the datastore is in that very Kubernetes: only two that are named apart can be of two clusters."""
    scheme, _, path = url.partition(":")
    if scheme != "kubernetes" or kubeconfig is None:
        return False
    return path.removeprefix("//") in {kubeconfig, str(Path(kubeconfig).absolute()) if kubeconfig else ""}


def _api(kubeconfig: str | None) -> Api | None:
    """The Kubernetes API, if there is one. Raises UsageError."""
    if kubeconfig is None:
        return None
    from bgpnet.kube.client import connect

    return connect(kubeconfig)
