"""Where the API server is and what shows who we are, as values: a kubeconfig, a ServiceAccount, or fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bgpnet.errors import UsageError

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where Kubernetes puts a pod's token and CA."""
_HOME = "~/.kube/config"


@dataclass(frozen=True, slots=True)
class Access:
    """One of: the path of a kubeconfig, its text (inline), a server with files, the folder of a ServiceAccount."""

    kubeconfig: str = ""
    inline: str = field(default="", repr=False)
    context: str = ""
    server: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    token: str = field(default="", repr=False)
    insecure: bool = False
    service_account: str = ""

    def __str__(self) -> str:
        if self.inline:
            return "the kubeconfig in kubeconfigInline"
        if self.kubeconfig:
            return f"kubeconfig {self.kubeconfig}"
        return f"the ServiceAccount in {self.service_account}" if self.service_account else self.server

    def in_context(self, context: str, called: str) -> Access:
        """The same in that context of the kubeconfig, where one is said; raises UsageError where there is none."""
        if context and not (self.kubeconfig or self.inline):
            raise UsageError(f"{called} {context!r}: is for a kubeconfig, and {self} is none; take it out")
        return replace(self, context=context) if context else self

    @property
    def remedy(self) -> str:
        """What to do when it cannot be used."""
        if self.service_account:
            return "run in a pod that has a ServiceAccount, or set KUBECONFIG to a kubeconfig's path"
        return "correct it; `kubectl --kubeconfig FILE version` shows whether it works"


FIELDS = {
    "kubeconfig": ("kubeconfig", "KUBECONFIG"),
    "inline": ("kubeconfigInline", ""),
    "context": ("k8sCurrentContext", "K8S_CURRENT_CONTEXT"),
    "server": ("k8sAPIEndpoint", "K8S_API_ENDPOINT"),
    "ca_file": ("k8sCAFile", "K8S_CA_FILE"),
    "cert_file": ("k8sCertFile", "K8S_CERT_FILE"),
    "key_file": ("k8sKeyFile", "K8S_KEY_FILE"),
    "token": ("k8sAPIToken", "K8S_API_TOKEN"),
    "insecure": ("k8sInsecureSkipTLSVerify", "K8S_INSECURE_SKIP_TLS_VERIFY"),
}
"""calicoctl's names for each: in its configuration file, and in the environment (there with CALICO_ before, too)."""
_WHERE = ("kubeconfig", "inline", "server")
_WITH_SERVER = ("ca_file", "cert_file", "key_file", "token", "insecure")


def find(kubeconfig: str, environ: Mapping[str, str], service_account: str = SERVICE_ACCOUNT) -> Access:
    """That kubeconfig, else what the environment says, else the pod's ServiceAccount, else ~/.kube/config.

    Of the kubeconfig, whichever it is, the context that the environment says. Raises UsageError.
    """
    context, called = _said(environ, "context")
    if kubeconfig:
        return replace(_existing(kubeconfig, "kubeconfig"), context=context)
    if (said := of_environment(environ)) is not None:
        return said
    if (own := in_cluster(environ, service_account)) is not None:
        return own.in_context(context, called)
    if Path(_HOME).expanduser().is_file():
        return Access(kubeconfig=_HOME, context=context)
    raise UsageError(
        "no Kubernetes API server is known: KUBECONFIG is not set, ~/.kube/config is not there, and this is no pod "
        "with a ServiceAccount; set KUBECONFIG to the path of the cluster's kubeconfig"
    )


def in_cluster(environ: Mapping[str, str], service_account: str = SERVICE_ACCOUNT) -> Access | None:
    """A pod's own way, by the variables that Kubernetes sets in it; None: this is no pod."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        return None
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(server=server, service_account=service_account)


def of_environment(environ: Mapping[str, str]) -> Access | None:
    """What KUBECONFIG, K8S_API_ENDPOINT and their like say; None when they say no place. Raises UsageError."""
    said: dict[str, str] = {}
    called: dict[str, str] = {}
    for of in FIELDS:
        text, name = _said(environ, of)
        if text:
            said[of], called[of] = text, name
    if not any(said.get(of) for of in _WHERE):
        return None
    return of_fields(said, called)


def _said(environ: Mapping[str, str], of: str) -> tuple[str, str]:
    """What a variable says of that field of `Access`, and which one."""
    variable = FIELDS[of][1]
    names = (f"CALICO_{variable}", variable) if variable else ()
    return next(((environ[name], name) for name in names if environ.get(name)), ("", variable))


def of_fields(said: Mapping[str, str], called: Mapping[str, str]) -> Access:
    """The fields of `Access` as somebody said them, by the names they are called there; raises UsageError.

    One of them says where; certificates, key and token go with k8sAPIEndpoint, as a kubeconfig has its own.
    """
    where = [of for of in _WHERE if said.get(of)]
    if len(where) != 1:
        names = " and ".join(called[of] for of in where) or "none of kubeconfig, kubeconfigInline and k8sAPIEndpoint"
        raise UsageError(f"{names}: must be exactly one, as each says where the API server is; keep one of them")
    beside = [of for of in _WITH_SERVER if said.get(of)]
    if where != ["server"] and beside:
        raise UsageError(f"{called[beside[0]]}: does not go with {called[where[0]]}; write it in the kubeconfig")
    if bool(said.get("cert_file")) != bool(said.get("key_file")):
        one = "cert_file" if said.get("cert_file") else "key_file"
        raise UsageError(f"{called[one]}: needs both a certificate and its key; name the other file, too")
    given = {of: text for of, text in said.items() if of in FIELDS and of not in ("insecure", "context")}
    if where == ["kubeconfig"]:
        given["kubeconfig"] = _existing(given["kubeconfig"], called["kubeconfig"]).kubeconfig
    found = Access(**given, insecure=said.get("insecure", "").lower() in ("true", "1", "t", "yes"))
    return found.in_context(said.get("context", ""), called.get("context", ""))


def _existing(kubeconfig: str, called: str) -> Access:
    """kubectl merges the files that KUBECONFIG names with colons between; here, one of them may exist."""
    there = [each for each in kubeconfig.split(":") if each and Path(each).expanduser().is_file()]
    if len(there) > 1:
        raise UsageError(f"{called} {kubeconfig!r}: names {len(there)} files, and they are not merged; name one")
    if not there:
        raise UsageError(f"{called} {kubeconfig!r}: there is no such file; name the kubeconfig of the cluster")
    return Access(kubeconfig=there[0])


def is_revision(text: str) -> bool:
    """Whether an API server may have given that resourceVersion."""
    return text.isascii() and text.isdigit() and text != "0"


def selectors(labels: str, fields: str) -> dict[str, str]:
    """The parameters of a list or watch that chooses by labels and fields."""
    return {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
