"""`bgpnetctl create`, `apply`, `replace` and `delete`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bgpnet_ctl import completing, params
from bgpnet_ctl.session import Refused, Session, connected, pass_session, warn

if TYPE_CHECKING:
    from bgpnet_ctl.changes import Outcome, Verb


skip_empty = click.option("--skip-empty", is_flag=True, help="Do not complain of files without resources.")


@click.command(short_help="Create resources.")
@params.filename_option("create", required=True)
@params.recursive_option
@skip_empty
@click.option("--skip-exists", is_flag=True, help="Pass over what exists already.")
@connected
@pass_session
def create(session: Session, filenames: tuple[str, ...], recursive: bool, skip_empty: bool, skip_exists: bool) -> None:
    """Create resources; one that exists already is refused.

    Everything is checked before the first is written. A status in the file is passed over: agents write it.

    \b
    Examples:
      bgpnetctl create -f pool.yaml
      bgpnetctl create -f pools/
    """
    from bgpnet_ctl import changes

    verb = changes.CREATE_MISSING if skip_exists else changes.CREATE
    _write(session, verb, filenames, recursive, skip_empty)


@click.command(short_help="Create or change resources.")
@params.filename_option("apply", required=True)
@params.recursive_option
@skip_empty
@connected
@pass_session
def apply(session: Session, filenames: tuple[str, ...], recursive: bool, skip_empty: bool) -> None:
    """Create resources, or bring those that exist to what the file says.

    Everything is checked before the first is written. A status in the file is passed over: agents write it.

    \b
    Examples:
      bgpnetctl apply -f pool.yaml
      bgpnetctl get ippool -o yaml | sed 's/ipipMode: Never/ipipMode: Always/' | bgpnetctl apply -f -
    """
    from bgpnet_ctl import changes

    _write(session, changes.APPLY, filenames, recursive, skip_empty)


@click.command(short_help="Replace resources that exist.")
@params.filename_option("replace", required=True)
@params.recursive_option
@skip_empty
@connected
@pass_session
def replace(session: Session, filenames: tuple[str, ...], recursive: bool, skip_empty: bool) -> None:
    """Replace resources that exist; one that does not is refused.

    A resourceVersion in the file is held against the stored one, so that nobody's change is lost.

    \b
    Example:
      bgpnetctl replace -f pool.yaml
    """
    from bgpnet_ctl import changes

    _write(session, changes.REPLACE, filenames, recursive, skip_empty)


@click.command(short_help="Delete resources.")
@click.argument("words", nargs=-1, metavar="[KIND NAME... | KIND/NAME...]", shell_complete=completing.target)
@params.filename_option("delete", required=False)
@params.recursive_option
@click.option("-s", "--skip-not-exists", is_flag=True, help="Pass over what does not exist.")
@connected
@pass_session
def delete(
    session: Session, words: tuple[str, ...], filenames: tuple[str, ...], recursive: bool, skip_not_exists: bool
) -> None:
    """Delete resources by kind and name, or those that a file names.

    \b
    Examples:
      bgpnetctl delete ippool blue
      bgpnetctl delete -f pools.yaml --skip-not-exists
    """
    if bool(words) == bool(filenames):
        raise click.UsageError("say what to delete: either a KIND and names, or files with -f")
    from bgpnet_ctl import changes, sources

    wanted = sources.named(filenames, recursive) if filenames else list(params.targets(words))
    for kind, name in wanted:
        if not name:
            raise click.UsageError(f"say which {kind.name} to delete: bgpnetctl delete {kind.aliases[0]} NAME")
    _tell(changes.delete(session.repo(), wanted, skip_not_exists))


def _write(session: Session, verb: Verb, filenames: tuple[str, ...], recursive: bool, skip_empty: bool) -> None:
    from bgpnet_ctl import changes, sources

    resources = sources.read(filenames, recursive, skip_empty)
    if not resources:
        click.echo("No resources specified")
        return
    outcome = changes.write(session.repo(may_make=verb is not changes.REPLACE), verb, resources)
    for warning in changes.warnings(outcome.done, session.datastore):
        warn(warning)
    _tell(outcome)


def _tell(outcome: Outcome) -> None:
    for line in outcome.said:
        click.echo(line)
    for warning in outcome.warned:
        warn(warning)
    if outcome.failed:
        raise Refused(outcome.failed)
