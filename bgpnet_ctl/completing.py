"""What the shell offers for an argument: kinds, and the names that the datastore has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bgpnet.errors import BgpnetError
from bgpnet_ctl.session import RUN_DIR, Session

if TYPE_CHECKING:
    from bgpnet.model.kinds import Kind


def target(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Kinds for the first word, then the names that the datastore has."""
    from bgpnet.model.kinds import BY_ALIAS, KINDS

    typed: tuple[str, ...] = ctx.params.get(str(param.name)) or ()
    if not typed:
        return [row.aliases[0] for row in KINDS if row.aliases[0].startswith(incomplete.lower())]
    kind = BY_ALIAS.get(typed[0].lower())
    return [name for name in _names(ctx, kind) if name.startswith(incomplete) and name not in typed] if kind else []


def node(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of nodes."""
    from bgpnet.model.kinds import NODE

    return [name for name in _names(ctx, NODE) if name.startswith(incomplete)]


def pool(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of pools."""
    from bgpnet.model.kinds import IPPOOL

    return [name for name in _names(ctx, IPPOOL) if name.startswith(incomplete)]


def reservation(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of reservations."""
    from bgpnet.model.kinds import IPRESERVATION

    return [name for name in _names(ctx, IPRESERVATION) if name.startswith(incomplete)]


def _names(ctx: click.Context, kind: Kind) -> list[str]:
    """What the datastore has; nothing where it does not answer: a completion is no place for complaints."""
    options = ctx.find_root().params
    session = Session(options.get("datastore") or "", options.get("run_dir") or RUN_DIR, options.get("config") or "")
    try:
        from bgpnet_ctl import reading

        return [resource.metadata.name for resource in reading.everything(session.repo(), kind)]
    except BgpnetError:
        return []
    finally:
        session.close()
