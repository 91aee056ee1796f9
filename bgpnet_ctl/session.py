"""What a command works with: the datastore and the agent, opened when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from bgpnet.client import AgentClient
    from bgpnet.store.api import Store
    from bgpnet.store.repo import Repo

DATASTORE = "sqlite:///var/lib/bgpnet/store.db"
RUN_DIR = "/run/bgpnet"
AGENT_SECONDS = 5.0
"""How long the agent may take to answer a question."""

F = TypeVar("F", bound=Callable[..., Any])


class Refused(click.ClickException):
    """One sentence on standard error, and exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Say it as it is, without a prefix: the sentences are calicoctl's where it has one."""
        click.echo(self.message, file=file, err=file is None)


class Misused(Refused):
    """The same for what the caller must change on the command line: exit code 2."""

    exit_code = 2


@dataclass(slots=True)
class Session:
    """One run of the program."""

    datastore: str
    run_dir: str
    _store: Store | None = field(default=None, init=False)

    def repo(self) -> Repo:
        """The typed datastore; raises UsageError for a URL that nothing serves, StoreUnreachable."""
        from bgpnet.store.factory import open_store
        from bgpnet.store.repo import Repo

        if self._store is None:
            self._store = open_store(self.datastore)
        return Repo(self._store)

    def agent(self) -> AgentClient:
        """This machine's agent."""
        from bgpnet.client import AgentClient

        return AgentClient(f"{self.run_dir}/agent.sock", AGENT_SECONDS)

    def close(self) -> None:
        """Let go of the datastore."""
        if self._store is not None:
            self._store.close()


def warn(sentence: str) -> None:
    """One line on standard error."""
    click.echo(f"{click.style('Warning:', fg='yellow')} {sentence}", err=True)


pass_session = click.make_pass_decorator(Session)


def _override(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    session = ctx.find_object(Session)
    if value is not None and session is not None and param.name is not None:
        setattr(session, param.name, value)


def connected(command: F) -> F:
    """Take `--datastore` and `--run-dir` after the command, too: that is where people type them."""
    for name, metavar in (("--run-dir", "DIR"), ("--datastore", "URL")):
        command = click.option(
            name, metavar=metavar, default=None, expose_value=False, callback=_override, help="As before the command."
        )(command)
    return command
