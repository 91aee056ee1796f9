"""`bgpnetctl ipam check` and `ipam release`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bgpnet_ctl import params
from bgpnet_ctl.session import Refused, Session, connected, pass_session

if TYPE_CHECKING:
    from bgpnet_ctl.ipamchecking import Checked
    from bgpnet_ctl.requests import Answer

FOUND = 3
"""The exit code of a check that found something wrong."""
FORMATS = (params.TABLE, params.YAML, params.JSON)


def _format_or_file(ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """A format; or, as calicoctl's users write it, a file for the report: what has a dot or a slash in it."""
    if value in FORMATS or "." in value or "/" in value:
        return value
    known = ", ".join(FORMATS)
    raise click.UsageError(f"unrecognized output format '{value}': known are {known}; or name a FILE with a dot", ctx)


@click.command(short_help="Compare what is recorded with what is there.")
@click.option("--show-all-ips", is_flag=True, help="Also list every address in use.")
@click.option("--show-problem-ips", is_flag=True, help="Also list the addresses that something is wrong with.")
@click.option(
    "-o",
    "--output",
    metavar="table|yaml|json|FILE",
    default=params.TABLE,
    show_default=True,
    callback=_format_or_file,
    help="How to show it; a FILE is as with --report.",
)
@click.option("--report", type=click.Path(dir_okay=False), metavar="FILE", help="Also write the JSON report there.")
@click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between the two looks; nodes write what they did within one.",
)
@click.option("--repair", is_flag=True, help="Have the owners release what is leaked.")
@click.option("--dry-run", is_flag=True, help="With --repair: only say what would be asked.")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=15.0, show_default=True, metavar="SECONDS", help="For answers."
)
@connected
@pass_session
@click.pass_context
def check(
    ctx: click.Context,
    session: Session,
    show_all_ips: bool,
    show_problem_ips: bool,
    output: str,
    report: str | None,
    settle: float,
    repair: bool,
    dry_run: bool,
    timeout: float,
) -> None:
    """Compare what is recorded about addresses with what is there, and say everything that is wrong.

    Three sources: the datastore; the nodes, each about its own kernel (this machine's agent is asked, the others are
    taken at the word they publish; the addresses of a silent node are a warning, never a leak); and this machine's
    container runtime, where crictl is installed. Nothing is locked: what seems wrong is looked at again a little
    later, and only what is still the same is reported.

    --repair asks the owner of each leaked address to release it, and waits; nothing else is ever changed.

    Exit code 0: nothing is wrong. 3: something is. 1: it could not be looked at.

    \b
    Examples:
      bgpnetctl ipam check
      bgpnetctl ipam check --show-problem-ips --report before.json
      bgpnetctl ipam check --repair --dry-run
      bgpnetctl ipam check -o json | jq '.problems[].code'
    """
    if dry_run and not repair:
        raise click.UsageError("--dry-run says what --repair would do: write both")
    from bgpnet.ipamcheck import check as engine
    from bgpnet_ctl import findings, ipamchecking, repairing

    if output not in FORMATS:
        output, report = params.TABLE, report or output
    checked = ipamchecking.checked(session, settle)
    asked = repairing.wanted(checked.found) if repair else []
    if output == params.TABLE:
        click.echo(findings.narrative(checked, show_all_ips, show_problem_ips), nl=False)
    answers = [] if dry_run else repairing.ask(session.repo(), asked, "leaked, by ipam check --repair", timeout)
    _write(checked, answers, output, report, repair)
    if output == params.TABLE and repair:
        _say(checked, answers, list(repairing.plan(asked)) if dry_run else None)
    if engine.is_wrong(repairing.left(checked.found, answers)):
        ctx.exit(FOUND)


def _write(checked: Checked, answers: list[Answer], output: str, report: str | None, repair: bool) -> None:
    """The report, to a file and to standard output where wanted."""
    if report is None and output == params.TABLE:
        return
    from bgpnet_ctl import findings, render, repairing

    tree: dict[str, Any] = findings.tree(checked)
    if repair:
        tree["repair"] = repairing.tree(answers)
    if report is not None:
        try:
            Path(report).write_text(render.tree(tree, params.JSON))
        except OSError as error:
            raise Refused(f"--report = '{report}': {error.strerror}: name a file that can be written") from error
    if output != params.TABLE:
        click.echo(render.tree(tree, output), nl=False)


def _say(checked: Checked, answers: list[Answer], plan: list[str] | None) -> None:
    """What was repaired, or would be; what was not, and why."""
    from bgpnet.ipamcheck.picture import Severity
    from bgpnet_ctl import repairing

    click.echo()
    for line in repairing.told(answers) if plan is None else plan:
        click.echo(line)
    repairable = {one.key for one in checked.found if one.code == "leaked-address"}
    for problem in checked.found:
        if problem.key not in repairable and problem.severity is not Severity.INFO:
            click.echo(f"Not for --repair: {problem.code} {problem.subject}: {problem.remedy}")
    if plan is None and not answers:
        click.echo("There was nothing to repair.")


@click.command(short_help="Release an address that no pod has any more.")
@click.option("--ip", "address", metavar="ADDRESS", help="The address.")
@click.option(
    "--from-report",
    "reports",
    multiple=True,
    metavar="FILE",
    help="Release what this report of ipam check calls leaked; of several, what all of them do.",
)
@click.option("--force", is_flag=True, help="As calicoctl has it; there is no lock here to be passed over.")
@click.option("--dry-run", is_flag=True, help="Only say what would be asked.")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=15.0, show_default=True, metavar="SECONDS", help="For answers."
)
@connected
@pass_session
def release(
    session: Session, address: str | None, reports: tuple[str, ...], force: bool, dry_run: bool, timeout: float
) -> None:
    """Release addresses that no pod has any more, by asking the nodes that own their blocks.

    The owner looks at its kernel and its pods, and refuses what is in use. A node that does not answer in time is
    named, and its request is withdrawn: nothing happens later. No lock is needed.

    \b
    Examples:
      bgpnetctl ipam release --ip 10.244.0.5
      bgpnetctl ipam release --from-report before.json --from-report now.json
    """
    del force  # nothing is weaker without it
    if (address is None) == (not reports):
        raise click.UsageError("say what to release: either --ip ADDRESS, or --from-report FILE")
    from bgpnet_ctl import ipamchecking, repairing
    from bgpnet_ctl.requests import Outcome

    repo = session.repo()
    if address is not None:
        one = repairing.allocated(repo, address)
        asked, passed = ([one], []) if one else ([], [f"IP address {address} is not assigned"])
    else:
        asked, passed = repairing.from_reports(repo, reports, ipamchecking.cluster_guid(session))
    for line in (*passed, *(repairing.plan(asked) if dry_run else ())):
        click.echo(line)
    if not asked and not passed:
        click.echo("No leaked address is in every report: there is nothing to release.")
    answers = [] if dry_run else repairing.ask(repo, asked, "released by hand", timeout)
    refused = [one.sentence for one in answers if one.outcome is not Outcome.RELEASED]
    for line in repairing.told([one for one in answers if one.outcome is Outcome.RELEASED]):
        click.echo(line)
    if refused:
        raise Refused("\n".join(refused))
