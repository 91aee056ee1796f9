"""The text of a configuration file: calicoctl's CalicoAPIConfig, or ours, which may name the datastore's URL.

No value of a secret field is ever repeated, whatever is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from msgspec import defstruct

from bgpnet.document import marks, reader
from bgpnet.document.marks import Mark
from bgpnet.document.shape import Shaper
from bgpnet.errors import Finding, UsageError
from bgpnet.store import choice
from bgpnet.store.choice import Choice
from bgpnet.store.etcd_options import Said

if TYPE_CHECKING:
    from bgpnet.kube.access import Access

KINDS = {"projectcalico.org/v3": "CalicoAPIConfig", "bgpnet.io/v1": "APIConfig"}
SECRETS = ("etcdPassword", "etcdKey", "k8sAPIToken", "kubeconfigInline")
_SAID = {
    "username": "etcdUsername",
    "password": "etcdPassword",
    "ca_cert_file": "etcdCACertFile",
    "cert_file": "etcdCertFile",
    "key_file": "etcdKeyFile",
    "ca_cert": "etcdCACert",
    "cert": "etcdCert",
    "key": "etcdKey",
}
_WHERE = ("datastoreType", "etcdEndpoints", "etcdDiscoverySrv")
_KUBERNETES = ("kubeconfig", "kubeconfigInline", "k8sAPIEndpoint")
"""Any of these, and no type, is Kubernetes' datastore."""
_UNUSED = ("k8sDisableNodePoll", "usePodCIDR", "k8sClientQPS", "k8sClientBurst", "calicoAPIGroup")
_TEXTS = (
    *("datastore", *_WHERE, *_SAID.values()),
    *("kubeconfig", "kubeconfigInline", "k8sAPIEndpoint", "k8sKeyFile", "k8sCertFile", "k8sCAFile", "k8sAPIToken"),
    *("k8sCurrentContext", "k8sClientQPS", "calicoAPIGroup"),
)
"""All of calicoctl's, and `datastore`, a URL as for `--datastore`."""
_SWITCHES = ("k8sInsecureSkipTLSVerify", "k8sDisableNodePoll", "usePodCIDR")
_SPEC = defstruct(
    "Spec",
    [*((name, str, "") for name in _TEXTS), *((name, bool, False) for name in _SWITCHES), ("k8sClientBurst", int, 0)],
    kw_only=True,
)
_CONFIG = defstruct("Config", [("apiVersion", str), ("kind", str), ("spec", _SPEC | None, None)], kw_only=True)


@dataclass(frozen=True, slots=True)
class Parsed:
    """The choice (without a URL where the file says none), warnings, and the secret that the file holds, if it does."""

    choice: Choice
    warnings: list[str] = field(default_factory=list)
    secret: str = ""


def parse(path: str, text: str, where: bool = True) -> Parsed:
    """The text of the file at `path`; raises UsageError with every finding, one line each.

    where: whether it is to say where the datastore is; without it, the choice has no URL.
    """
    reading = reader.read(text)
    _refuse(path, [_quiet(each) for each in reading.findings], None)
    if len(reading.documents) != 1:
        count = len(reading.documents)
        raise UsageError(f"{path}: has {count} documents; write one, with apiVersion, kind and spec")
    mark = next(iter(marks.read(text)), None)
    document: Any = reading.documents[0]
    if isinstance(document, dict):
        document = {key: value for key, value in document.items() if key != "metadata"}
    shaper = Shaper("CalicoAPIConfig")
    shaped: Any = shaper.shape(document, _CONFIG)
    findings = [_silent(each) for each in shaper.findings]
    _refuse(path, findings or list(_envelope(shaped)), mark)
    spec = {key: value for key, value in (shaped.get("spec") or {}).items() if value != ""}
    return _parsed(path, spec, mark, where)


def _envelope(config: dict[str, Any]) -> Iterator[Finding]:
    version, kind = config["apiVersion"], config["kind"]
    if version not in KINDS:
        yield Finding("apiVersion", version, f"must be {' or '.join(KINDS)}")
    elif kind != KINDS[version] and kind != "CalicoAPIConfig":
        yield Finding("kind", kind, f"must be {KINDS[version]}: this is the configuration of bgpnetctl, not a resource")


def _parsed(path: str, spec: dict[str, Any], mark: Mark | None, where: bool) -> Parsed:
    def name(of: str) -> str:
        return f"{path}:{mark.line_of(f'spec.{of}')}: spec.{of}" if mark else f"{path}: spec.{of}"

    values = {key: spec[of] for key, of in _SAID.items() if of in spec}
    said = Said(**values, called={key: name(of) for key, of in _SAID.items()})
    kubernetes = [of for of in spec if of.startswith(("k8s", "kube")) or of in ("usePodCIDR", "calicoAPIGroup")]
    chosen = _chosen(spec, said, name) if where else None
    unused = "is accepted and not used: it is for the Kubernetes datastore"
    if chosen and chosen.url.startswith(choice.KUBERNETES):
        kubernetes = [of for of in kubernetes if of in _UNUSED]
        unused = "is accepted and not used: bgpnetctl has no such setting"
    return Parsed(
        chosen or Choice("", said, path),
        [f"{name(of)} {unused}" for of in kubernetes],
        next((f"spec.{of}" for of in SECRETS if of in spec), ""),
    )


def _chosen(spec: dict[str, Any], said: Said, name: Callable[[str], str]) -> Choice | None:
    if "datastore" in spec:
        for of in _WHERE:
            if of in spec:
                raise UsageError(f"{name(of)} is {_shown(spec[of])}: spec.datastore says it, too; keep one of the two")
        chosen: Choice | None = Choice(spec["datastore"], said, name("datastore"))
    elif not any(of in spec for of in _WHERE) and (found := [of for of in _KUBERNETES if of in spec]):
        chosen = Choice(choice.KUBERNETES, said, name(found[0]))
    else:
        kind, endpoints, srv = ((str(spec.get(of, "")), name(of)) for of in _WHERE)
        chosen = choice.settle(kind, endpoints, srv, said)
    if chosen is not None and chosen.url == choice.KUBERNETES and any(of in spec for of in _KUBERNETES):
        return replace(chosen, access=_access(spec, name))
    return chosen


def _access(spec: dict[str, Any], name: Callable[[str], str]) -> Access:
    from bgpnet.kube import access

    values = {of: spec[key] for of, (key, _) in access.FIELDS.items() if key in spec}
    said = {of: "true" if value is True else "" if value is False else str(value) for of, value in values.items()}
    return access.of_fields(said, {of: name(key) for of, (key, _) in access.FIELDS.items()})


def _shown(value: str) -> str:
    return "not shown, as a password may be in it" if "@" in value else repr(value)


def _refuse(path: str, findings: list[Finding], mark: Mark | None) -> None:
    lines = []
    for each in findings:
        line = each.line if each.line is not None or mark is None else mark.line_of(each.path)
        lines.append(f"{path}{'' if line is None else f':{line}'}: {each}")
    if lines:
        raise UsageError("\n".join(lines))


def _silent(finding: Finding) -> Finding:
    """Without a secret, be it the value, or be it glued to its field by a colon without a blank."""
    name = finding.path.removeprefix("spec.")
    secret = next((each for each in SECRETS if name.startswith(each)), "")
    if secret and name != secret:
        return replace(finding, path=f"spec.{secret}…", value=None)
    return replace(finding, value=None) if secret or "@" in str(finding.value) else finding


def _quiet(finding: Finding) -> Finding:
    """An alias without its anchor is rather a password that begins with a star: it is not repeated."""
    if not finding.problem.startswith("*"):
        return finding
    return replace(finding, problem="a * begins an alias, and nothing has that anchor; put the value in quotes")
