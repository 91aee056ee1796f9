"""`bgpnetctl datastore export`, `check` and `import`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

import click

from bgpnet_ctl import params
from bgpnet_ctl.session import Session, connected, pass_session, warn

T = TypeVar("T")

WRONG = 3
"""The exit code of a check that found something."""
_LONG = 200  # objects from which on it takes long enough to show how far it is


@click.group(short_help="Export, check and import a whole datastore.")
def datastore() -> None:
    """Move a whole datastore: to a file, from a file, from one sort of datastore to another."""


@datastore.command(short_help="Write everything as one YAML stream.")
@click.option(
    "-o", "--output", "filename", metavar="FILE", default="-", help="Where to write; standard output unless told."
)
@connected
@pass_session
def export(session: Session, filename: str) -> None:
    """Write everything that the datastore holds as one YAML stream, as of one instant.

    The same contents are the same bytes. The second line has the number of objects and their checksum, so that
    `datastore import` notices a file that is not whole. A file is written whole or not at all, for its owner alone.

    \b
    Examples:
      bgpnetctl datastore export -o backup.yaml
      bgpnetctl --datastore etcd://10.0.0.1:2379 datastore export | gzip > backup.yaml.gz
    """
    from bgpnet.transfer import stream
    from bgpnet_ctl import copies, files

    if filename != "-":
        files.check(filename)
    copy = copies.sound(copies.of_store(session.repo().store, session.choice().url))
    resources = copy.contents.resources
    pieces = _progress("Exporting", stream.write(resources), len(resources) + 1)
    if filename == "-":
        for piece in pieces:
            click.echo(piece, nl=False)
    else:
        files.write(filename, pieces)
        click.echo(
            f"Successfully exported {len(resources)} resource(s) to {filename}: sha256 {copy.checksum}", err=True
        )


@datastore.command(short_help="Check everything; compare with another.")
@click.argument("other", required=False, metavar="[URL|FILE|-]")
@params.output_option((params.TABLE, params.JSON, params.YAML))
@connected
@pass_session
def check(session: Session, other: str | None, output: str) -> None:
    """Read everything, check every rule and every reference, and say what is wrong; with OTHER, compare the two.

    OTHER is a datastore's URL, an export, a Calico etcd or a calicoctl export. Exit code 3 when something was found.

    \b
    Examples:
      bgpnetctl datastore check
      bgpnetctl datastore check backup.yaml
      bgpnetctl --datastore etcd://10.0.0.1:2379 datastore check sqlite:///var/lib/bgpnet/store.db
    """
    from bgpnet_ctl import checking, copies

    _say(f"Reading {session.choice().url}{f' and {other}' if other else ''} …")
    theirs = copies.given(other, session.open) if other is not None else None
    report = checking.checked(copies.of_store(session.repo().store, session.choice().url), theirs)
    click.echo(report.text() if output == params.TABLE else report.tree(output), nl=False)
    if report.is_wrong:
        click.get_current_context().exit(WRONG)


@datastore.command("import", short_help="Copy everything from another, or from Calico.")
@click.argument("source", metavar="FROM")
@click.option("--dry-run", is_flag=True, help="Read and check everything, and write nothing.")
@click.option("--report", "filename", metavar="FILE", help="Also write, as JSON, all that was said about FROM.")
@params.output_option((params.TABLE, params.JSON, params.YAML))
@connected
@pass_session
def import_(session: Session, source: str, dry_run: bool, filename: str | None, output: str) -> None:
    """Copy everything from FROM into the datastore, which must be empty; then read it again and compare.

    FROM is a datastore's URL, an export or standard input (-); or Calico: an etcd that holds /calico/, or what
    `calicoctl get -o yaml` or `calicoctl datastore migrate export` wrote. What of Calico's has no counterpart is
    counted on standard error and listed in full by --report or -o json.

    Everything is checked before the first write. Killed half-way, the same command again goes on where it stopped.

    \b
    Examples:
      bgpnetctl --datastore etcd://10.0.0.1:2379 datastore import sqlite:///var/lib/bgpnet/store.db
      bgpnetctl datastore import backup.yaml --dry-run
      bgpnetctl datastore import etcd://10.0.0.9:2379 --report notes.json     # a Calico cluster's etcd
    """
    from bgpnet_ctl import files, importing, outcome, render

    if filename is not None:
        files.check(filename)
    _say(f"Reading {source} …")
    plan = importing.prepared(source, session.choice().url, lambda: session.repo().store, session.open)
    for warning in outcome.warnings(plan):
        warn(warning)
    result = (
        None
        if dry_run
        else importing.carry_out(
            plan, session.repo(may_make=True).store, lambda each: _progress("Importing", each, len(each))
        )
    )
    told = outcome.tree(plan, result)
    if filename is not None:
        files.write(filename, [render.tree(told, params.JSON)])
    click.echo(outcome.text(plan, result) if output == params.TABLE else render.tree(told, output), nl=False)


def _say(sentence: str) -> None:
    """What takes a while, to who looks on."""
    if sys.stderr.isatty():
        click.echo(sentence, err=True)


def _progress(label: str, items: Iterable[T], count: int) -> Iterator[T]:
    """One by one, with a bar on a terminal where it takes a while."""
    if count < _LONG or not sys.stderr.isatty():
        yield from items
        return
    with click.progressbar(items, length=count, label=label, file=sys.stderr, update_min_steps=50) as bar:
        yield from bar
