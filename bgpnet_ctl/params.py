"""What commands have in common: kinds, names, files and formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from bgpnet.model.kinds import Kind

F = TypeVar("F", bound=Callable[..., Any])

TABLE, WIDE, YAML, JSON, NAME = "table", "wide", "yaml", "json", "name"
COLUMNS = "custom-columns"
RESOURCES = (TABLE, WIDE, YAML, JSON, NAME, f"{COLUMNS}=A,B")
"""The formats of resources; `ps` is calicoctl's word for table."""


def output_option(known: tuple[str, ...]) -> Callable[[F], F]:
    """`-o FORMAT`; a format that is not among the known is wrong usage."""

    def checked(ctx: click.Context, _param: click.Parameter, value: str) -> str:
        if value == "ps":
            return TABLE
        if value.startswith("go-template"):
            problem = f"go-template is Go's own language: use -o json and jq, or -o {COLUMNS}=NAME,…"
            raise click.UsageError(problem, ctx)
        if value not in known and not (columns(value) and known == RESOURCES):
            raise click.UsageError(f"unrecognized output format '{value}': known are {', '.join(known)}", ctx)
        return value

    def completed(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        return [name for name in known if name.startswith(incomplete)]

    return click.option(
        "-o",
        "--output",
        metavar="|".join(known),
        default=TABLE,
        show_default=True,
        callback=checked,
        shell_complete=completed,
        help="How to show it.",
    )


def columns(output: str) -> tuple[str, ...]:
    """The headings of `custom-columns=NAME,CIDR`, in capitals; none for another format."""
    head, _, rest = output.partition("=")
    return tuple(each.strip().upper() for each in rest.split(",") if each.strip()) if head == COLUMNS else ()


def recursive_option(command: F) -> F:
    """`-R`."""
    return click.option("-R", "--recursive", is_flag=True, help="Take directories with all that is below them.")(
        command
    )


def filename_option(verb: str, required: bool) -> Callable[[F], F]:
    """`-f PATH`, as often as wanted."""
    return click.option(
        "-f",
        "--filename",
        "filenames",
        multiple=True,
        required=required,
        metavar="FILE|DIR|-",
        type=click.Path(allow_dash=True),
        help=f"What to {verb}: YAML or JSON in a file, in a directory's .yaml, .yml and .json files, or on stdin (-).",
    )


def kind_named(word: str) -> Kind:
    """The kind that people call so, in any case, singular, plural or short."""
    from bgpnet.model.kinds import BY_ALIAS, KINDS

    kind = BY_ALIAS.get(word.lower())
    if kind is None:
        known = ", ".join(row.aliases[0] for row in KINDS)
        raise click.UsageError(f"unknown kind '{word}': known are {known}")
    return kind


def targets(words: tuple[str, ...]) -> Iterator[tuple[Kind, str]]:
    """`KIND NAME…` or `KIND/NAME…` (what `-o name` prints) as pairs; a kind alone comes with an empty name."""
    if "/" not in words[0]:
        kind = kind_named(words[0])
        yield from ((kind, name) for name in words[1:] or ("",))
        return
    for word in words:
        head, slash, name = word.partition("/")
        if not slash or not name:
            raise click.UsageError(f"'{word}' is not KIND/NAME: write all of them so, or one KIND and then names")
        yield kind_named(head), name
