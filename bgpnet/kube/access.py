"""Where the API server is and what shows who we are, as values: a kubeconfig, a ServiceAccount, or fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        return self.server or f"the ServiceAccount in {self.service_account}"

    @property
    def remedy(self) -> str:
        """What to do when it cannot be used."""
        if self.service_account:
            return "run in a pod that has a ServiceAccount, or set KUBECONFIG to a kubeconfig's path"
        return "correct it; `kubectl --kubeconfig FILE version` shows whether it works"


def find(kubeconfig: str, environ: Mapping[str, str], service_account: str = SERVICE_ACCOUNT) -> Access:
    """That kubeconfig, else KUBECONFIG's, else the pod's ServiceAccount, else ~/.kube/config; raises UsageError."""
    named = kubeconfig or environ.get("KUBECONFIG", "")
    if named:
        files = [each for each in named.split(":") if each] if not kubeconfig else [kubeconfig]
        there = [each for each in files if Path(each).expanduser().is_file()]
        if len(there) > 1:
            raise UsageError(f"KUBECONFIG {named!r}: names {len(there)} files, and they are not merged; name one")
        if not there:
            said = "kubeconfig" if kubeconfig else "KUBECONFIG"
            raise UsageError(f"{said} {named!r}: there is no such file; name the kubeconfig of the cluster")
        return Access(kubeconfig=there[0])
    if environ.get("KUBERNETES_SERVICE_HOST") and environ.get("KUBERNETES_SERVICE_PORT"):
        return Access(service_account=service_account)
    if Path(_HOME).expanduser().is_file():
        return Access(kubeconfig=_HOME)
    raise UsageError(
        "no Kubernetes API server is known: KUBECONFIG is not set, ~/.kube/config is not there, and this is no pod "
        "with a ServiceAccount; set KUBECONFIG to the path of the cluster's kubeconfig"
    )
