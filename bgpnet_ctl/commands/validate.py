"""`bgpnetctl validate`."""

from __future__ import annotations

import click

from bgpnet_ctl import params
from bgpnet_ctl.session import Refused, warn


@click.command(short_help="Check resources without a datastore.")
@params.filename_option("check", required=True)
@params.recursive_option
@params.output_option((params.TABLE, params.YAML, params.JSON))
@click.pass_context
def validate(ctx: click.Context, filenames: tuple[str, ...], recursive: bool, output: str) -> None:
    """Check resources as create and apply do, as far as that needs no datastore, and say everything that is wrong.

    One line for each resource where all are valid. Otherwise one line for each finding, with its file, line, field,
    value and what to do, and exit code 1. What is valid but not acted on yet is a warning.

    \b
    Examples:
      bgpnetctl validate -f pools.yaml
      calicoctl get ippool -o yaml | bgpnetctl validate -f - -o json
    """
    from bgpnet_ctl import validation

    found = validation.verdicts(filenames, recursive)
    right, wrong = validation.shown(found)
    if output != params.TABLE:
        click.echo(validation.tree(found, output), nl=False)
        ctx.exit(1 if wrong else 0)
    for warning in (each for verdict in found for each in verdict.warnings):
        warn(warning)
    if wrong:
        raise Refused(wrong)
    click.echo(right, nl=False)
