"""`bgpnet cni …`."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click
from click.core import ParameterSource

from bgpnet import conflist
from bgpnet.cni import home as homes
from bgpnet.cni import install
from bgpnet.cni.frozen import freeze
from bgpnet.cni.home import Home
from bgpnet.errors import UsageError

RUN_DIR = Path(conflist.SOCKET).parent


@click.group("cni", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """The plugin that the container runtime executes."""


@command.command("install")
@click.option(
    "--from",
    "program",
    type=click.Path(path_type=Path, dir_okay=False),
    default=install.program,
    show_default="build/cni/bgpnet of the checkout",
    help="The compiled plugin; the image has one of its own.",
)
@click.option("--python", is_flag=True, help="The twin in Python instead, where no compiler is.")
@click.option(
    "--home/--no-home",
    default=None,
    show_default="--home, but for a pod's or a bound BIN_DIR",
    help="With --python: whether its interpreter has a home in BIN_DIR/.bgpnet, from which it starts sooner. Not where "
    "the node knows BIN_DIR by another name.",
)
@click.option(
    "--bin-dir",
    type=click.Path(path_type=Path),
    envvar="BGPNET_CNI_BIN_DIR",
    default=install.BIN_DIR,
    show_default=True,
    help="Where the runtime looks for plugins.",
)
@click.option("--watch", is_flag=True, help="Stay, and put the plugin back whenever it is gone or another.")
@click.option("--uninstall", is_flag=True, help="Remove the plugin and the conflist that the agent wrote.")
@click.option(
    "--conf-dir",
    type=click.Path(path_type=Path),
    envvar="BGPNET_CNI_CONF_DIR",
    default=install.CONF_DIR,
    show_default=True,
    help="With --uninstall: where the conflist is.",
)
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    envvar="BGPNET_RUN_DIR",
    default=RUN_DIR,
    show_default=True,
    help="With --uninstall: where a living agent's socket would be.",
)
@click.pass_context
def install_plugin(
    context: click.Context,
    program: Path,
    python: bool,
    home: bool | None,
    bin_dir: Path,
    watch: bool,
    uninstall: bool,
    conf_dir: Path,
    run_dir: Path,
) -> None:
    """Copy the plugin into place in one step, once it has answered VERSION; the same again changes nothing.

    After an upgrade, run it again: what differs is replaced, and who executes the old one goes on with it. The conflist
    is the agent's to write (its setting cni_conf_dir), and comes when the agent answers.

    Before --uninstall, delete the node's pods and stop the agent: a runtime needs the plugin to delete them.

    \b
    Examples:
      bgpnet cni install
      bgpnet cni install --python --bin-dir /usr/lib/cni
      bgpnet cni install --watch
      bgpnet cni install --uninstall
    \b
    Exit codes: 0 done, 1 refused (with the reason), 2 wrong usage.
    """
    if uninstall:
        _alone(
            context,
            "--uninstall",
            {"program": "--from", "python": "--python", "home": "--home/--no-home", "watch": "--watch"},
        )
        _remove(bin_dir, conf_dir, run_dir)
    else:
        _alone(context, "an installation", {"conf_dir": "--conf-dir", "run_dir": "--run-dir"})
        if not python:
            _alone(context, "the compiled plugin", {"home": "--home/--no-home"})
        _install(program, python, home, bin_dir, watch)


def _install(program: Path, python: bool, wants_home: bool | None, bin_dir: Path, watch: bool) -> None:
    try:
        home = _find_home(bin_dir, wants_home) if python else None
        wanted = freeze(link=home.python if home else None) if python else install.read_program(program)
        if install.is_installed(wanted, bin_dir, home):
            click.echo(f"{bin_dir / install.NAME} is up to date")
        else:
            click.echo(f"installed {install.install(wanted, bin_dir, home)}")
    except UsageError as error:
        raise click.ClickException(str(error)) from error
    if watch:
        _watch(wanted, bin_dir, home)


def _find_home(bin_dir: Path, wanted: bool | None) -> Home | None:
    """What the twin's interpreter starts from, if it can and may; raises UsageError, if it should and cannot."""
    if wanted is False or (wanted is None and homes.is_foreign(bin_dir)):
        return None
    try:
        return homes.find(bin_dir)
    except UsageError:
        if wanted:
            raise
        return None


def _alone(context: click.Context, what: str, others: dict[str, str]) -> None:
    """Refuse flags that say nothing here."""
    for name, flag in others.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{flag} means nothing for {what}: leave it out")


def _remove(bin_dir: Path, conf_dir: Path, run_dir: Path) -> None:
    try:
        removed = install.uninstall(bin_dir, conf_dir, run_dir / Path(conflist.SOCKET).name)
    except UsageError as error:
        raise click.ClickException(str(error)) from error
    for path in removed:
        click.echo(f"removed {path}")
    if not removed:
        click.echo(f"nothing to remove in {bin_dir} and {conf_dir}")


def _watch(wanted: bytes, bin_dir: Path, home: Home | None) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    install.keep(wanted, bin_dir, stop, lambda said: click.echo(said), home=home)
