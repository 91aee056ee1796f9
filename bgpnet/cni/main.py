"""`bgpnet cni …`."""

from __future__ import annotations

from pathlib import Path

import click

from bgpnet.cni import install
from bgpnet.errors import UsageError


@click.group("cni")
def command() -> None:
    """The plugin that the container runtime executes."""


@command.command("install")
@click.option(
    "--from",
    "program",
    type=click.Path(path_type=Path, dir_okay=False),
    default=install.PROGRAM,
    show_default=True,
    help="The compiled plugin.",
)
@click.option("--python", is_flag=True, help="The twin in Python instead, where no compiler is.")
@click.option(
    "--bin-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=install.BIN_DIR,
    show_default=True,
    help="Where the runtime looks for plugins.",
)
def install_plugin(program: Path, python: bool, bin_dir: Path) -> None:
    """Copies the plugin into place in one step, once it has answered VERSION."""
    try:
        place = install.install(install.freeze() if python else install.read_program(program), bin_dir)
    except UsageError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"installed {place}")
