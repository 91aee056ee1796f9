"""What a command works with: the datastore and the agent, opened when they are first asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from bgpnet.client import AgentClient
    from bgpnet.store.api import Store
    from bgpnet.store.choice import Choice
    from bgpnet.store.repo import Repo

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
    """One run of the program.

    asked: the URL of `--datastore`, or "". config: the file of `-c`, or "". context: a kubeconfig's, or "".
    """

    asked: str
    run_dir: str
    config: str = ""
    context: str = ""
    _choice: Choice | None = field(default=None, init=False)
    _store: Store | None = field(default=None, init=False)

    @property
    def datastore(self) -> str:
        """The URL of the datastore in use; raises UsageError."""
        return self.choice().url

    def choice(self) -> Choice:
        """Which datastore it is; warns about its configuration file, raises UsageError."""
        from bgpnet_ctl import configuration

        if self._choice is None:
            found = configuration.find(configuration.Asked(self.asked, self.config), os.environ)
            for warning in found.warnings:
                warn(warning)
            self._choice = _in_context(found.choice, self.context) if self.context else found.choice
        return self._choice

    def open(self, url: str) -> Store:
        """Another datastore, with the same certificates and user; raises UsageError, StoreUnreachable."""
        return replace(self.choice(), url=url).open()

    def repo(self, *, may_make: bool = False) -> Repo:
        """The typed datastore; raises UsageError for a URL that nothing serves, StoreUnreachable.

        may_make: a file that is missing is made; else its first use raises StoreUnreachable: where somebody only looks,
        or changes what should be there, an empty datastore in the place of a lost or another one is a wrong answer.
        """
        from bgpnet.store.repo import Repo

        if self._store is None:
            choice = self.choice()
            self._store = choice.open() if may_make or not choice.url.startswith("sqlite:///") else _existing(choice)
        return Repo(self._store)

    def agent(self) -> AgentClient:
        """This machine's agent."""
        from bgpnet.client import AgentClient

        return AgentClient(f"{self.run_dir}/agent.sock", AGENT_SECONDS)

    def ask(self) -> dict[str, object]:
        """What this machine's agent says of itself; raises AgentAway."""
        return self.agent().ask("status")

    def close(self) -> None:
        """Let go of the datastore."""
        if self._store is not None:
            self._store.close()


def _in_context(choice: Choice, context: str) -> Choice:
    """The same API server's kubeconfig in that context; raises UsageError where there is none."""
    from bgpnet.errors import UsageError
    from bgpnet.kube import access
    from bgpnet.store.choice import KUBERNETES

    if not choice.url.startswith(KUBERNETES):
        problem = "is for a kubeconfig, and the datastore is another"
        raise UsageError(f"--context {context!r}: {problem}; take it out, or write --datastore {KUBERNETES}")
    path = choice.url.removeprefix(KUBERNETES).removeprefix("//")
    named = choice.access if choice.access is not None and not path else access.find(path, os.environ)
    return replace(choice, url=KUBERNETES, access=named.in_context(context, "--context"))


def _existing(choice: Choice) -> Store:
    """A file of SQLite's, opened when it is first used: what is wrong with the command itself is said before."""
    from bgpnet.store.lazy import LazyStore

    def open_it() -> Store:
        try:
            os.stat(choice.url.removeprefix("sqlite://"))
        except FileNotFoundError as error:
            from bgpnet.errors import StoreUnreachable

            raise StoreUnreachable(
                f"datastore {choice.url} does not exist: bgpnet agent makes it, and so do bgpnetctl create, apply and "
                "datastore import; if another one is meant, name it with --datastore URL, -c FILE or BGPNET_DATASTORE"
            ) from error
        except (OSError, ValueError):
            pass  # opening it says what is the matter
        return choice.open()

    return LazyStore(open_it)


def warn(sentence: str) -> None:
    """One line on standard error."""
    click.echo(f"{click.style('Warning:', fg='yellow')} {sentence}", err=True)


pass_session = click.make_pass_decorator(Session)


def given(_ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """What is given is not empty, as an unset variable of a shell is; and a file is there. Raises Misused."""
    if value == "":
        raise Misused(f"{param.opts[-1]} is given and empty: write a {param.metavar}, or leave it out")
    if value and param.name == "config" and not os.path.exists(value):
        problem = "No such file or directory; create it, or leave -c out"
        raise Misused(f"Error reading config file: {value}: {problem}")
    return value


def _override(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    session = ctx.find_object(Session)
    given(ctx, param, value)
    if value is not None and session is not None and param.name is not None:
        setattr(session, "asked" if param.name == "datastore" else param.name, value)


def connected(command: F) -> F:
    """Take `--datastore`, `-c`, `--context` and `--run-dir` after the command, too: that is where people type them."""
    options = ((("--run-dir",), "DIR"), (("--context",), "NAME"), (("-c", "--config"), "FILE"))
    for names, metavar in (*options, (("--datastore",), "URL")):
        command = click.option(
            *names, metavar=metavar, default=None, expose_value=False, callback=_override, help="As before the command."
        )(command)
    return command
