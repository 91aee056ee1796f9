"""The ways to an API server as values, and what its answers mean in our words."""

from __future__ import annotations

import importlib
import json
import logging
from pathlib import Path

import pytest
import yaml

from bgpnet.errors import UsageError
from bgpnet.kube import access, proxy, words
from bgpnet.kube.access import Access
from bgpnet.kube.client import Api, connect
from bgpnet.kube.errors import Cause, Expired, Refused, Unauthorised
from bgpnet.model.kinds import IPAMBLOCK
from bgpnet.store import kubernetes_objects as objects

SERVER = "Kubernetes API server https://10.0.0.1:6443"
CONFIG = {
    "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443"}}],
    "users": [{"name": "u", "user": {"token": "hush-hush"}}],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "x",
}


def status(code: int, reason: str, message: str = "words", **details: object) -> bytes:
    tree = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return json.dumps({**tree, "details": details}).encode()


# --- where it is


def test_the_first_that_says_where_it_is_counts(tmp_path: Path) -> None:
    one, other = (tmp_path / name for name in ("one", "other"))
    one.write_text("")
    other.write_text("")
    pod = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    everything = {"KUBECONFIG": f"/nowhere:{other}", "HOME": str(tmp_path), **pod}
    assert access.find(str(one), everything) == Access(kubeconfig=str(one))
    assert access.find("", everything) == Access(kubeconfig=str(other))
    assert access.find("", pod) == Access(server="https://10.96.0.1:443", service_account=access.SERVICE_ACCOUNT)
    six = {**pod, "KUBERNETES_SERVICE_HOST": "fd00::1"}
    assert access.find("", six, "/sa") == Access(server="https://[fd00::1]:443", service_account="/sa")
    said = {
        "K8S_API_ENDPOINT": "http://a",
        "CALICO_K8S_API_ENDPOINT": "https://b",
        "K8S_INSECURE_SKIP_TLS_VERIFY": "true",
    }
    assert access.find("", said) == Access(server="https://b", insecure=True)


def test_a_context_holds_for_whichever_kubeconfig_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or somebody would change another cluster than the one that they named."""
    home = tmp_path / ".kube" / "config"
    home.parent.mkdir()
    home.write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("K8S_CURRENT_CONTEXT", "CALICO_K8S_CURRENT_CONTEXT"):
        assert access.find(str(home), {name: "x"}).context == "x"
        assert access.find("", {name: "x"}) == Access(kubeconfig="~/.kube/config", context="x")
        assert access.find("", {name: "x", "KUBECONFIG": str(home)}).context == "x"
        pod = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", name: "x"}
        with pytest.raises(UsageError, match=f"{name} 'x': is for a kubeconfig, and the ServiceAccount in"):
            access.find("", pod)


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        (
            {"KUBECONFIG": "/nowhere"},
            "KUBECONFIG '/nowhere': there is no such file; name the kubeconfig of the cluster",
        ),
        ({"KUBECONFIG": "ONE:ONE"}, "names 2 files, and they are not merged; name one"),
        (
            {"KUBECONFIG": "ONE", "K8S_API_ENDPOINT": "https://a"},
            "KUBECONFIG and K8S_API_ENDPOINT: must be",
        ),
        (
            {"KUBECONFIG": "ONE", "K8S_CA_FILE": "/ca"},
            "K8S_CA_FILE: does not go with KUBECONFIG; write it in",
        ),
        ({"K8S_API_ENDPOINT": "https://a", "K8S_KEY_FILE": "/k"}, "K8S_KEY_FILE: needs both a certificate and its key"),
        (
            {"K8S_API_ENDPOINT": "https://a", "K8S_CURRENT_CONTEXT": "x"},
            "K8S_CURRENT_CONTEXT 'x': is for a kubeconfig, and https://a is none",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(environ: dict[str, str], sentence: str, tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.write_text("")
    with pytest.raises(UsageError) as refused:
        access.find("", {name: text.replace("ONE", str(one)) for name, text in environ.items()})
    assert sentence in str(refused.value)


def changed(**parts: object) -> dict[str, object]:
    return {**CONFIG, **parts}


def cluster(**more: str) -> dict[str, object]:
    return changed(clusters=[{"name": "c", "cluster": {"server": "https://a"} | more}])


WRONG: list[tuple[object, str]] = [
    ("[", "cannot be used ("),
    ("words", "it is no kubeconfig"),
    ({}, "no 'clusters' in it"),
    (changed(**{"current-context": "y"}), "Context 'y' not found"),
    (changed(**{"current-context": None}), "No current context set"),
    (
        cluster(**{"proxy-url": "socks5://x"}),
        "proxy-url of cluster 'c' is a socks5 proxy, which is not supported; write",
    ),
    (cluster(**{"proxy-url": "http://x:y"}), "Invalid port: 'y'"),
    *(
        (cluster(server=server), f"its server {server!r} is no URL; write one like https://10.0.0.1:6443")
        for server in ("10.0.0.1:6443", "https://", "ftp://a", "https://a b", "https://a\x7f")
    ),
    (cluster(**{"tls-server-name": "x"}), "cluster 'c' has tls-server-name, which is not supported; take it out"),
    (changed(users=[{"name": "u", "user": {"auth-provider": {"name": "gcp"}}}]), "user 'u' has auth-provider, which"),
    (cluster(**{"certificate-authority": "/no"}), "No such file"),
    (cluster(**{"certificate-authority-data": "eA=="}), "no certificate"),
]


@pytest.mark.parametrize(("content", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_a_kubeconfig_that_cannot_be_used_is_refused_at_once(content: object, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content if isinstance(content, str) else yaml.dump(content))
    with pytest.raises(UsageError) as refused:
        connect(str(path))
    text = str(refused.value)
    assert text.startswith(f"kubeconfig {path}: cannot be used (")
    assert sentence in text
    assert "\n" not in text
    assert "hush-hush" not in text


@pytest.mark.parametrize(
    ("server", "exempt", "proxied"),
    [
        ("https://10.0.0.1:6443", "", True),
        ("https://10.0.0.1:6443", "192.168.0.0/16,.example.org", True),
        ("https://10.0.0.1:6443", "localhost, 10.0.0.0/8", False),
        ("https://10.0.0.1:6443", "10.0.0.1", False),
        ("https://10.0.0.1:6443", "10.0.0.1:6443", False),
        ("https://10.0.0.1:6443", "10.0.0.1:443", True),
        ("https://10.0.0.1:6443", "*", False),
        ("https://[fd00::1]:6443", "fd00::/8", False),
        ("https://[fd00::1]:6443", "[fd00::1]:6443", False),
        ("https://127.0.0.1:6443", "", False),  # such as kind's
        ("https://localhost:6443", "", False),
        ("https://api.example.org", "example.org", False),
        ("https://api.example.org", ".example.org", False),
        ("https://api.example.org", "*.example.org", False),
        ("https://api.example.org", "notexample.org,ple.org", True),
        ("https://api.example.org", "api.example.org:443", False),
    ],
)
def test_a_proxy_is_chosen_as_kubectl_does(server: str, exempt: str, proxied: bool) -> None:
    for said, no in (("HTTPS_PROXY", "NO_PROXY"), ("https_proxy", "no_proxy")):
        found = proxy.of(server, {said: "proxy.example:3128", no: exempt, "HTTP_PROXY": "http://other"})
        assert found == ("http://proxy.example:3128" if proxied else "")


def test_a_pod_without_its_token_is_told(tmp_path: Path) -> None:
    pod = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(UsageError, match=r"the ServiceAccount in .*cannot be used .*or set KUBECONFIG"):
        connect(environ=pod, service_account=str(tmp_path))


def test_secrets_are_in_no_representation() -> None:
    given = Access(inline=yaml.dump(CONFIG))
    api = Api(given)
    assert str(api) == SERVER
    assert "hush-hush" not in f"{given!r} {given} {api!r} {Access(server='https://a', token='hush-hush')!r}"  # noqa: S106
    api.close()


def test_a_log_at_debug_is_ours_and_not_the_http_clients(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    importlib.import_module("bgpnet.kube.door")
    for one in ("httpx2", "httpcore2.connection", "httpcore2.http11"):
        assert not logging.getLogger(one).isEnabledFor(logging.INFO)
    assert logging.getLogger("bgpnet.agent").isEnabledFor(logging.DEBUG)


# --- what it answers


def test_refusals_in_our_words() -> None:
    path = "/apis/bgpnet.io/v1/ippools/x"
    causes = [{"field": "spec.cidr", "message": "is not a network", "reason": "FieldValueInvalid"}, "junk"]
    invalid = words.refusal(SERVER, "POST", path, 422, status(422, "Invalid", name="x", causes=causes))
    assert isinstance(invalid, Refused)
    assert invalid.causes == (Cause("spec.cidr", "is not a network"),)
    assert (invalid.status, invalid.reason, invalid.message) == (422, "Invalid", "words")
    gone = words.refusal(SERVER, "GET", path, 410, status(410, "Expired"))
    assert isinstance(gone, Expired)
    for code, reason, sentence in (
        (401, "Unauthorized", "does not accept our credentials (words); renew the token or certificate"),
        (401, "Unauthorized", "or delete the pod whose ServiceAccount was made anew"),
        (403, "Forbidden", "words; grant it in a ClusterRole"),
    ):
        denied = words.refusal(SERVER, "GET", path, code, status(code, reason))
        assert isinstance(denied, Unauthorised)
        assert sentence in str(denied)


@pytest.mark.parametrize("body", [b"404 page not found\n", status(404, "NotFound"), b"{}", b"\xff"])
def test_a_kind_that_is_not_installed_is_no_missing_object(body: bytes) -> None:
    for path in ("/apis/bgpnet.io/v1/ippools", "/apis/bgpnet.io/v1/ippools/x"):
        unknown = words.refusal(SERVER, "GET", path, 404, body)
        assert isinstance(unknown, Refused)
        assert unknown.reason == ""
        assert "has no ippools.bgpnet.io; install bgpnet's kinds with `kubectl apply -k manifests/`" in str(unknown)
    missing = words.refusal(SERVER, "GET", "/x", 404, status(404, "NotFound", name="x"))
    assert isinstance(missing, Refused)
    assert missing.reason == "NotFound"


def test_whatever_it_says_is_one_line() -> None:
    assert "\n" not in str(words.refusal(SERVER, "GET", "/x", 400, b"a\nb\x1b[2J"))
    assert words.said(b"\xff\xfe") != ""
    assert words.said(json.dumps(["list"]).encode()) == '["list"]'


# --- objects and values


def test_keys_and_places() -> None:
    place = objects.place("/bgpnet/v1/ippools/blue")
    assert place is not None
    assert (place.path, place.has_status) == ("/apis/bgpnet.io/v1/ippools/blue", True)
    for key in (
        "/bgpnet/v1/ippools/",
        "/bgpnet/v1/ippools/a/b",
        *(f"/bgpnet/v1/ippools/{name}" for name in ("blue?x", "blue#x", "?x", ".", "..", "a%2e", "Blue", "a b")),
        "/bgpnet/v1/workloadendpoints/a",
        "/calico/x",
        "ippools/a",
    ):
        assert objects.place(key) is None


@pytest.mark.parametrize(
    "value",
    [b"", b"\0", b"[]", b"{}", b'{"kind": "Node", "metadata": {"name": "10-0-0-0-26"}, "spec": {}}',
     b'{"kind": "IPAMBlock", "metadata": {"name": "other"}, "spec": {}}',
     b'{"kind": "IPAMBlock", "metadata": {"name": "10-0-0-0-26"}, "spec": []}'],
)  # fmt: skip
def test_what_is_no_resource_of_that_key_cannot_be_stored(value: bytes) -> None:
    place = objects.place("/bgpnet/v1/ipamblocks/10-0-0-0-26")
    assert place is not None
    with pytest.raises(ValueError, match=r"it is"):
        objects.from_value(place, value)


def test_an_annotation_that_somebody_spoilt_does_no_harm() -> None:
    """The API server's uid and order count then; what kubectl wrote is read as it is."""
    for kept in ("", "{", "[]", '{"order": "x"}', '{"order": ["7", {}, "1"]}'):
        metadata = {"name": "b", "uid": "theirs", "annotations": {objects.KEPT: kept, "a": "b"}, "generation": 3}
        item = {"metadata": metadata, "spec": {"cidr": "10.0.0.0/26", "allocations": {"1": {}, "2": {}}}}
        tree = json.loads(objects.to_value(IPAMBLOCK, item))
        assert tree["metadata"] == {"name": "b", "uid": "theirs", "annotations": {"a": "b"}}
        assert tree["kind"] == "IPAMBlock"
        assert list(tree["spec"]["allocations"]) == ["1", "2"]
