"""What the datastore URL and the ETCD_ variables say about an etcd cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bgpnet.errors import UsageError
from bgpnet.store.etcd_options import Options, Tls, read
from bgpnet.store.factory import open_store

URL = "etcd://10.0.0.1:2379"


@pytest.fixture
def pem(tmp_path: Path) -> str:
    path = tmp_path / "some.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\n")
    return str(path)


@pytest.mark.parametrize(
    ("url", "endpoints"),
    [
        ("etcd://10.0.0.1:2379", ("10.0.0.1:2379",)),
        ("etcd://a.example:1,b:65535", ("a.example:1", "b:65535")),
        ("etcd://[2001:db8::1]:2379,10.0.0.1", ("[2001:db8::1]:2379", "10.0.0.1:2379")),
        ("etcd://a:1,b:2,a:1", ("a:1", "b:2")),
    ],
)
def test_endpoints(url: str, endpoints: tuple[str, ...]) -> None:
    assert read(url, {}) == Options(endpoints)


@pytest.mark.parametrize(
    "url",
    ["etcd:", "etcd://", "etcd:a:1", "etcd://a:1,", "etcd://a:x", "etcd://a:0", "etcd://a:65536", "etcd://a:1/x",
     "etcd://2001:db8::1:2379", "etcd://-a:1", "etcd:///a:1", "etcd://a b:1", "etcd://https://a:1"],
)  # fmt: skip
def test_what_names_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"is no HOST:PORT; write such as etcd://10\.0\.0\.1:2379"):
        read(url, {})


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="set ETCD_USERNAME and ETCD_PASSWORD instead") as refused:
        open_store("etcd://root:hush@10.0.0.1:2379", {})
    assert "hush" not in str(refused.value)


def test_files_and_user_come_from_the_environment(pem: str) -> None:
    environ = {"ETCD_CA_CERT_FILE": pem, "ETCD_CERT_FILE": pem, "ETCD_KEY_FILE": pem}
    environ |= {"ETCD_USERNAME": "calico", "ETCD_PASSWORD": "hush"}
    assert read(URL, environ) == Options(("10.0.0.1:2379",), Tls(pem, pem, pem), "calico", "hush")
    assert read(URL, {"ETCD_CA_CERT_FILE": pem, "ETCD_CERT_FILE": "", "ETCD_USERNAME": ""}).tls == Tls(pem)


def test_calicos_own_names_go_before_and_are_the_ones_that_are_named(pem: str) -> None:
    environ = {"CALICO_ETCD_USERNAME": "a", "ETCD_USERNAME": "b", "ETCD_PASSWORD": "hush"}
    assert read(URL, environ).user == "a"
    with pytest.raises(UsageError, match=r"^CALICO_ETCD_KEY_FILE is set and ETCD_CERT_FILE is not; set both or none"):
        read(URL, {"CALICO_ETCD_KEY_FILE": pem})


def test_a_password_is_never_shown() -> None:
    options = read(URL, {"ETCD_USERNAME": "calico", "ETCD_PASSWORD": "hush"})
    store = open_store(URL, {"ETCD_USERNAME": "calico", "ETCD_PASSWORD": "hush"})
    assert "hush" not in f"{options} {options!r} {store} {store!r}"
    store.close()


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"ETCD_CERT_FILE": "PEM"}, "ETCD_CERT_FILE is set and ETCD_KEY_FILE is not; set both or none"),
        ({"ETCD_KEY_FILE": "PEM"}, "ETCD_KEY_FILE is set and ETCD_CERT_FILE is not; set both or none"),
        ({"ETCD_CERT_FILE": "PEM", "ETCD_KEY_FILE": "PEM"}, "without ETCD_CA_CERT_FILE; name the authority"),
        ({"ETCD_CA_CERT_FILE": "/nowhere/ca"}, "ETCD_CA_CERT_FILE is '/nowhere/ca': No such file or directory; name"),
        ({"ETCD_CA_CERT_FILE": "/proc/version"}, "holds no PEM block; name a file that begins with"),
        ({"ETCD_USERNAME": "u"}, "ETCD_USERNAME is set and ETCD_PASSWORD is not; set both or none"),
        ({"ETCD_PASSWORD": "u"}, "ETCD_PASSWORD is set and ETCD_USERNAME is not; set both or none"),
    ],
)
def test_half_a_configuration_is_refused(environ: dict[str, str], sentence: str, pem: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(URL, {name: pem if value == "PEM" else value for name, value in environ.items()})
    assert sentence in str(refused.value)


def test_without_etcd_in_the_url_nothing_of_grpc_is_imported(tmp_path: Path) -> None:
    """It would cost the agent 25 MB and bgpnetctl 85 ms."""
    program = (
        "import sys\n"
        "import bgpnet.agent.main, bgpnet.agent.loop, bgpnet.store.repo, bgpnet_ctl.main\n"
        "from bgpnet.store.factory import open_store\n"
        f"open_store('sqlite://{tmp_path}/store.db').put('/t/a', b'', None)\n"
        "print([name for name in ('etcd3', 'grpc', 'google.protobuf') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[]\n"


def test_etcd3_is_imported_without_a_word() -> None:
    program = "import bgpnet.store.etcd"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout + done.stderr == ""
