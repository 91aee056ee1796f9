"""`bgpnet agent`: the command. The only file of the agent that talks to a person."""

from __future__ import annotations

import logging
import os
import resource
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from bgpnet import config
from bgpnet.errors import UsageError

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
        from bgpnet.agent import assembly

        return assembly.run(settings, uuid)


def _take_descriptors() -> None:
    """The default is low for programs that call select(2), of which this is none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
