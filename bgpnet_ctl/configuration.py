"""Where bgpnetctl finds the datastore: the command line, a configuration file as calicoctl's, or the environment."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bgpnet.errors import UsageError
from bgpnet.store import choice
from bgpnet.store.choice import Choice

if TYPE_CHECKING:
    from bgpnet.store.etcd_options import Said

FILE = "/etc/bgpnet/bgpnetctl.cfg"
VARIABLE = "BGPNET_DATASTORE"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says: a datastore's URL, a configuration file; "" where it does not."""

    url: str = ""
    file: str = ""
    default_file: str = FILE


@dataclass(frozen=True, slots=True)
class Found:
    """The datastore to use, and a sentence for each thing about the file that is not as it should be."""

    choice: Choice
    warnings: list[str] = field(default_factory=list)


def find(asked: Asked, environ: Mapping[str, str]) -> Found:
    """The first that says where the datastore is; raises UsageError, at a file with every finding, one line each.

    1. `--datastore URL`; 2. `-c FILE`; 3. BGPNET_DATASTORE; 4. the default file, if there is one; 5. DATASTORE_TYPE,
    ETCD_ENDPOINTS and their like; 6. SQLite at its usual place. A file stands for the whole environment, as
    calicoctl's does. A URL (1 or 3) takes certificates and user from the file that -c names, or else from the ETCD_
    variables; the default file is not read then.
    """
    found = _found(asked, environ)
    if "@" in found.choice.url and not found.choice.url.startswith("sqlite:"):  # it is not shown
        problem = "a URL is no place for a password; set ETCD_USERNAME and ETCD_PASSWORD instead"
        raise UsageError(f"{found.choice.by}: {problem}, or etcdUsername and etcdPassword in a file")
    return found


def _found(asked: Asked, environ: Mapping[str, str]) -> Found:
    if asked.file:
        found = of_file(asked.file, where=not asked.url)
        if asked.url:
            return replace(found, choice=replace(found.choice, url=asked.url, by="--datastore"))
        return _complete(found, asked.file)
    if url := asked.url or environ.get(VARIABLE, ""):
        return Found(Choice(url, _said(url, environ), "--datastore" if asked.url else VARIABLE))
    if os.path.lexists(asked.default_file):
        return _complete(of_file(asked.default_file), asked.default_file)
    return Found(choice.of_environment(environ) or Choice(choice.DEFAULT, by="the default"))


def _said(url: str, environ: Mapping[str, str]) -> Said | None:
    if not url.startswith("etcd:"):
        return None
    from bgpnet.store import etcd_options

    return etcd_options.of_environment(environ)


def _complete(found: Found, path: str) -> Found:
    if not found.choice.url:
        raise UsageError(f"{path}: says no datastore; write spec.datastore or spec.etcdEndpoints, or use --datastore")
    return found


def of_file(path: str, where: bool = True) -> Found:
    """What that file says; its choice has no URL where the file says none, or `where` is false. Raises UsageError."""
    try:
        with open(path, "rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            data = opened.read()
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"is not UTF-8 at byte {error.start}"
        remedy = "correct that, or name another file with -c or the datastore with --datastore"
        raise UsageError(f"Error reading config file: {path}: {reason}; {remedy}") from None
    from bgpnet_ctl import configuration_file

    parsed = configuration_file.parse(path, text, where)
    warnings = parsed.warnings
    if parsed.secret and mode & (stat.S_IROTH | stat.S_IWOTH):
        remedy = f"chmod o-rw {path}: it is not for everybody"
        warnings = [*warnings, f"{path} has {parsed.secret} and mode {mode:04o}; {remedy}"]
    return Found(parsed.choice, warnings)
