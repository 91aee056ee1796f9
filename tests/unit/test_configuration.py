"""Where bgpnetctl and the agent look for the datastore: precedence, calicoctl's files, its variables."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bgpnet.agent.main import _with_datastore as agents
from bgpnet.errors import UsageError
from bgpnet.kube.access import Access
from bgpnet.store import choice, etcd_options
from bgpnet.store.choice import Choice
from bgpnet.store.factory import open_store
from bgpnet_ctl import configuration
from bgpnet_ctl.configuration import Asked, find
from bgpnet_ctl.main import cli

HEAD = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
SECRET = "hush-hush"  # noqa: S105 # a value to look for where it must not be


def config(tmp_path: Path, *lines: str, name: str = "bgpnetctl.cfg", head: str = HEAD) -> str:
    path = tmp_path / name
    path.write_text(head + "".join(f"  {line}\n" for line in lines))
    path.chmod(0o600)
    return str(path)


SOURCES = ("--datastore", "-c", "BGPNET_DATASTORE", "default file", "ETCD_ENDPOINTS")
SAID = dict(zip(SOURCES, ("etcd://a:1", "etcd://b:1", "etcd://c:1", "etcd://d:1", "etcd://e:1"), strict=True))


@pytest.mark.parametrize("said", [each for n in range(6) for each in itertools.combinations(SOURCES, n)], ids=" ".join)
def test_the_first_that_says_where_the_datastore_is_decides(said: tuple[str, ...], tmp_path: Path) -> None:
    """Every subset of the five sources; without any, SQLite at its usual place."""
    named = config(tmp_path, "etcdEndpoints: b:1", "etcdUsername: b", f"etcdPassword: {SECRET}", name="named.cfg")
    default = config(tmp_path, "etcdEndpoints: d:1", "etcdUsername: d", f"etcdPassword: {SECRET}")
    asked = Asked(
        SAID["--datastore"] if "--datastore" in said else "",
        named if "-c" in said else "",
        default if "default file" in said else f"{tmp_path}/none.cfg",
    )
    environ = {"ETCD_USERNAME": "e", "ETCD_PASSWORD": SECRET}
    environ |= {"BGPNET_DATASTORE": SAID["BGPNET_DATASTORE"]} if "BGPNET_DATASTORE" in said else {}
    environ |= {"ETCD_ENDPOINTS": "e:1"} if "ETCD_ENDPOINTS" in said else {}
    found = find(asked, environ).choice
    assert found.url == (SAID[said[0]] if said else choice.DEFAULT)
    if not said:
        return
    users = {"--datastore": "b" if "-c" in said else "e", "-c": "b", "default file": "d"}
    assert found.said.username == users.get(said[0], "e")


def test_a_file_stands_for_the_whole_environment(tmp_path: Path) -> None:
    default = config(tmp_path, "etcdEndpoints: d:1")
    environ = {"ETCD_CA_CERT_FILE": "/e/ca", "ETCD_USERNAME": "e", "ETCD_PASSWORD": "e", "DATASTORE_TYPE": "kubernetes"}
    said = find(Asked(default_file=default), environ).choice.said
    assert (said.ca_cert_file, said.username, said.password) == ("", "", "")


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, None),
        ({"DATASTORE_TYPE": "", "ETCD_ENDPOINTS": ""}, None),
        ({"ETCD_ENDPOINTS": "a:1"}, "etcd://a:1"),
        ({"ETCD_ENDPOINTS": "http://a:1, http://[2001:db8::1]:2379/"}, "etcd://a:1,[2001:db8::1]:2379"),
        ({"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": "https://a:1,https://b:2", "ETCD_CA_CERT_FILE": "/x"},
         "etcd://a:1,b:2"),
        ({"CALICO_ETCD_ENDPOINTS": "a:1", "ETCD_ENDPOINTS": "b:1"}, "etcd://a:1"),
        ({"DATASTORE_TYPE": "sqlite", "ETCD_ENDPOINTS": "a:1"}, choice.DEFAULT),
        ({"CALICO_DATASTORE_TYPE": "sqlite", "DATASTORE_TYPE": "etcdv3"}, choice.DEFAULT),
        ({"DATASTORE_TYPE": "kubernetes", "ETCD_ENDPOINTS": "a:1"}, "kubernetes:"),
        ({"CALICO_DATASTORE_TYPE": "kubernetes"}, "kubernetes:"),
    ],
)  # fmt: skip
def test_calicoctls_variables(environ: dict[str, str], url: str | None) -> None:
    found = choice.of_environment(environ)
    assert (found and found.url) == url


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"DATASTORE_TYPE": "etcd"}, "DATASTORE_TYPE is 'etcd': must be one of etcdv3, kubernetes, sqlite"),
        ({"DATASTORE_TYPE": "etcdv3"}, "DATASTORE_TYPE is 'etcdv3' and ETCD_ENDPOINTS is not set; set it to such as"),
        ({"ETCD_DISCOVERY_SRV": "example.com"}, "ETCD_DISCOVERY_SRV is 'example.com': endpoints are not looked up in"
                                                " DNS; list them in ETCD_ENDPOINTS instead"),
        ({"ETCD_ENDPOINTS": "http://a:1,https://b:1"}, "mixes schemes; write https:// before all of them, or before"),
        ({"ETCD_ENDPOINTS": "a:1,https://b:1"}, "mixes schemes"),
        ({"ETCD_ENDPOINTS": "https://a:1"}, "https needs the authority of etcd's certificate; set ETCD_CA_CERT_FILE"),
        ({"ETCD_ENDPOINTS": "http://a:1", "ETCD_CA_CERT_FILE": "/x"}, "http does not go with ETCD_CA_CERT_FILE; write"),
        ({"ETCD_ENDPOINTS": "ftp://a:1"}, "write such as https://10.0.0.1:2379"),
        ({"ETCD_ENDPOINTS": "http://a:1/v3"}, "write a list of HOST:PORT"),
        ({"ETCD_ENDPOINTS": " , "}, "write such as"),
        ({"ETCD_ENDPOINTS": f"http://root:{SECRET}@a:1"}, "ETCD_ENDPOINTS: an endpoint is no place for a password"),
    ],
)  # fmt: skip
def test_variables_that_do_not_go_together(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        choice.of_environment(environ)
    assert sentence in str(refused.value)
    assert SECRET not in str(refused.value)
    with pytest.raises(UsageError):
        agents({}, environ, {})


def test_the_agent_takes_calicoctls_variables_where_nothing_else_names_a_datastore() -> None:
    environ = {"ETCD_ENDPOINTS": "http://a:1"}
    assert agents({"node": "n"}, environ, {}) == {"node": "n", "datastore": "etcd://a:1"}
    for said in ({"datastore": "etcd://b:1"}, {}):
        flags = {} if said else {"datastore": "etcd://b:1"}
        assert agents(said, environ, flags) == said
    assert agents({}, environ | {"BGPNET_DATASTORE": "etcd://b:1"}, {}) == {}
    assert agents({}, {}, {}) == {}


@pytest.mark.parametrize(
    ("lines", "url"),
    [
        (["datastoreType: etcdv3", "etcdEndpoints: 'http://a:1,http://b:1'"], "etcd://a:1,b:1"),
        (['datastoreType: "etcdv3"', "etcdEndpoints: https://a:1", "etcdCACertFile: /x"], "etcd://a:1"),
        (["etcdEndpoints: https://a:1", "etcdCACert: |", "  x"], "etcd://a:1"),
        (["datastore: sqlite:///srv/store.db"], "sqlite:///srv/store.db"),
        (["datastoreType: sqlite"], choice.DEFAULT),
        (["{datastore: 'etcd://a:1', etcdUsername: 1234, etcdPassword: yes}"], "etcd://a:1"),
    ],
)
@pytest.mark.parametrize("head", [HEAD, HEAD.replace("projectcalico.org/v3\nkind: Calico", "bgpnet.io/v1\nkind: ")])
def test_files(lines: list[str], url: str, head: str, tmp_path: Path) -> None:
    found = find(Asked(file=config(tmp_path, *lines, head=head)), {})
    assert (found.choice.url, found.warnings) == (url, [])


BAD: list[tuple[list[str], str]] = [
    (["etcdEndpoint: a:1"], ":5: spec.etcdEndpoint: unknown field; did you mean etcdEndpoints?"),
    (["etcdEndpoints: [a, b]"], ":5: spec.etcdEndpoints: must be text, not a list"),
    (["k8sDisableNodePoll: 7"], ":5: spec.k8sDisableNodePoll = '7': must be true or false"),
    (["datastoreType: etcd3"], ":5: spec.datastoreType is 'etcd3': must be one of etcdv3, kubernetes, sqlite"),
    (["datastoreType: etcdv3"], "spec.datastoreType is 'etcdv3' and "),
    (["datastoreType: kubernetes", "kubeconfig: /x"], ":6: spec.kubeconfig '/x': there is no such file; name the kub"),
    (["kubeconfig: /x"], ":5: spec.kubeconfig '/x': there is no such file; name the kubeconfig of the cluster"),
    (["kubeconfig: /x", "k8sAPIEndpoint: https://a"], "spec.kubeconfig and "),
    (["kubeconfig: /x", f"k8sAPIToken: {SECRET}"], ":6: spec.k8sAPIToken: does not go with "),
    (["k8sAPIEndpoint: https://a", "k8sCertFile: /x"], ":6: spec.k8sCertFile: needs both a certificate and its key"),
    (
        ["k8sAPIEndpoint: https://a", "k8sCurrentContext: b"],
        ":6: spec.k8sCurrentContext 'b': is for a kubeconfig, and ",
    ),
    (["etcdDiscoverySrv: example.com"], ":5: spec.etcdDiscoverySrv is 'example.com': endpoints are not looked up in"),
    (["datastore: etcd://a:1", "etcdEndpoints: b:1"], ":6: spec.etcdEndpoints is 'b:1': spec.datastore says it, too"),
    (["etcdEndpoints: https://a:1"], ":5: spec.etcdEndpoints is 'https://a:1': https needs the authority"),
    (["etcdUsername: u"], "says no datastore; write spec.datastore or spec.etcdEndpoints, or use --datastore"),
    ([], "says no datastore"),
    (["etcdEndpoints: a:1", "etcdEndpoints: b:1"], ":6: line 6, column 3: the key 'etcdEndpoints' is written twice"),
    (["etcdEndpoints: 'a:1"], "is not YAML"),
    ([f"etcdPassword: [{SECRET}]"], ":5: spec.etcdPassword: must be text, not a list"),
    ([f"{{etcdPassword:{SECRET}}}"], "spec.etcdPassword…: unknown field; did you mean etcdPassword?"),
    ([f"etcdPassword: {{{SECRET}: 1}}"], ":5: spec.etcdPassword: must be text, not a mapping"),
    ([f"etcdPassword: *{SECRET}"], ":5: line 5, column 17: a * begins an alias, and nothing has that anchor; put"),
    ([f"etcdPassword: '{SECRET}"], "is not YAML"),
    ([f'etcdPassword: "\\{SECRET}"'], "is not YAML"),
    ([f"etcdPassword: @{SECRET}"], "is not YAML"),
    ([f"etcdPassword: a: {SECRET}"], "is not YAML"),
    ([f"etcdEndpoints: http://u:{SECRET}@a:1"], ":5: spec.etcdEndpoints: an endpoint is no place for a password"),
    ([f"datastore: etcd://u:{SECRET}@a:1", "etcdEndpoints: b:1"], "spec.datastore says it, too"),
    (["datastore: etcd://a:1", f"etcdEndpoints: u:{SECRET}@a:1"], "not shown, as a password may be in it: spec.datast"),
    ([f"datastore: etcds://u:{SECRET}@a:1"], ":5: spec.datastore: a URL is no place for a password; set ETCD_USERNAME"),
    ([f"datastore: etcd://u:{SECRET}@a:1"], ":5: spec.datastore: a URL is no place for a password"),
    (["etcdEndpoints: a:1", f"etcdKey: {SECRET}", "etcdKeyFile: /x"], "etcdKey and "),
    (["etcdEndpoints: a:1", f"etcdKey: {SECRET}"], ":6: spec.etcdKey is set and "),
    (["etcdEndpoints: a:1", f"etcdKey: {SECRET}", f"etcdCert: {SECRET}"], "spec.etcdCert without "),
    (["etcdEndpoints: a:1", f"etcdCACert: {SECRET}"], ":6: spec.etcdCACert: holds no PEM block; write the text that"),
    (["etcdEndpoints: a:1", "etcdCACertFile: /nowhere/ca"], ":6: spec.etcdCACertFile is '/nowhere/ca': No such file"),
    (["etcdEndpoints: a:1", f"etcdPassword: {SECRET}"], ":6: spec.etcdPassword is set and "),
]


@pytest.mark.parametrize(("lines", "sentence"), BAD, ids=[" ".join(lines) for lines, _ in BAD])
def test_a_file_that_is_wrong_is_refused_with_its_name_line_and_remedy(
    lines: list[str], sentence: str, tmp_path: Path
) -> None:
    path = config(tmp_path, *lines)
    done = CliRunner(env={"BGPNET_DATASTORE": None}).invoke(cli, ["-c", path, "get", "ippool"], catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert SECRET not in done.stderr
    assert all(line.startswith(f"{path}:") for line in done.stderr.splitlines())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has 0 documents; write one, with apiVersion, kind and spec"),
        (f"{HEAD}---\n{HEAD}", "has 2 documents"),
        ("hello\n", "must be a mapping of fields"),
        ("- a\n", "must be a mapping of fields"),
        ("kind: CalicoAPIConfig\n", "apiVersion: is required and not there; write it"),
        (HEAD.replace("v3", "v1"), "apiVersion = 'projectcalico.org/v1': must be projectcalico.org/v3 or bgpnet.io/v1"),
        (HEAD.replace("CalicoAPIConfig", "IPPool"), ":2: kind = 'IPPool': must be CalicoAPIConfig"),
        (f"{HEAD.replace('spec:', 'spec: {}')}datastore: etcd://a:1\n", ":5: datastore: unknown field"),
    ],
)
def test_a_text_that_is_no_configuration(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "x.cfg"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        find(Asked(file=str(path)), {})
    assert sentence in str(refused.value)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    def run(*args: str) -> Result:
        env = {"BGPNET_DATASTORE": f"sqlite://{tmp_path}/store.db", "BGPNET_RUN_DIR": str(tmp_path)}
        return CliRunner(env=env).invoke(cli, args, prog_name="bgpnetctl", catch_exceptions=False)

    return run


def test_a_file_that_is_not_there_is_refused_and_the_default_one_may_be_missing(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    for args in (["-c", "/none.cfg", "version"], ["get", "node", "-c", "/none.cfg"], ["-c", "/none.cfg", "validate"]):
        gone = run(*args)
        assert gone.exit_code == 2
        assert gone.stderr.startswith("Error reading config file: /none.cfg: No such file or directory; create it, or")
    folder = run("-c", str(tmp_path), "get", "node")
    assert (folder.exit_code, "Is a directory" in folder.stderr) == (2, True)
    assert find(Asked(default_file="/none.cfg"), {}).choice == Choice(choice.DEFAULT, by="the default")


@pytest.mark.parametrize("flag", ["--datastore", "--config"])
def test_what_is_given_and_empty_is_refused(run: Callable[..., Result], flag: str) -> None:
    """An unset variable of a shell must not mean the default datastore."""
    for args in (("get", "node", flag, ""), (flag, "", "get", "node")):
        refused = run(*args)
        assert refused.exit_code == 2
        assert refused.stderr.startswith(f"{flag} is given and empty: write a ")


def test_a_file_that_is_not_text_and_one_that_hangs_by_a_dead_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "link").symlink_to("/none.cfg")
    for name, sentence in (("binary", "is not UTF-8 at byte 0"), ("link", "No such file or directory")):
        with pytest.raises(UsageError, match=sentence):
            find(Asked(default_file=str(tmp_path / name)), {})


def test_the_command_line_names_a_file_on_either_side_of_the_command(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    path = config(tmp_path, f"datastore: sqlite://{tmp_path}/other.db")
    open_store(f"sqlite://{tmp_path}/other.db").close()
    for args in (("-c", path, "get", "node"), ("get", "node", "-c", path), ("get", "node", "--config", path)):
        assert run(*args).stdout == "NAME\n\n"
    assert f"sqlite://{tmp_path}/store.db does not exist" in run("get", "node").stderr


def test_a_url_on_the_command_line_beats_what_a_file_says_of_places(run: Callable[..., Result], tmp_path: Path) -> None:
    open_store(f"sqlite://{tmp_path}/other.db").close()
    for line in ("kubeconfig: /nowhere", "etcdDiscoverySrv: example.com", "etcdEndpoints: https://a:1"):
        path = config(tmp_path, line)
        assert run("-c", path, "get", "node").exit_code == 2
        assert run("-c", path, "--datastore", f"sqlite://{tmp_path}/other.db", "get", "node").stdout == "NAME\n\n"


def test_a_secret_that_others_may_read_is_warned_about(run: Callable[..., Result], tmp_path: Path) -> None:
    path = config(tmp_path, "datastore: 'memory:'", "etcdUsername: u", f"etcdPassword: {SECRET}")
    assert run("-c", path, "get", "node").stderr == ""
    Path(path).chmod(0o640)
    assert run("-c", path, "get", "node").stderr == ""
    Path(path).chmod(0o644)
    warned = run("-c", path, "get", "node")
    assert warned.exit_code == 0
    assert warned.stderr == (
        f"Warning: {path} has spec.etcdPassword and mode 0644; chmod o-rw {path}: it is not for everybody\n"
    )
    Path(config(tmp_path, "datastore: 'memory:'")).chmod(0o644)
    assert run("-c", path, "get", "node").stderr == ""


def test_what_is_for_kubernetes_only_is_named_and_not_used(run: Callable[..., Result], tmp_path: Path) -> None:
    path = config(tmp_path, "datastore: 'memory:'", "k8sAPIToken: " + SECRET, "k8sClientQPS: 20.5", "usePodCIDR: true")
    told = run("-c", path, "get", "node").stderr
    assert [line.partition("spec.")[2] for line in told.splitlines()] == [
        f"{of} is accepted and not used: it is for the Kubernetes datastore"
        for of in ("k8sAPIToken", "k8sClientQPS", "usePodCIDR")
    ]


@pytest.mark.parametrize("scheme", ["etcd", "etcds", "http"])
def test_a_password_in_a_url_is_refused_and_not_repeated(scheme: str) -> None:
    url = f"{scheme}://u:{SECRET}@a:1"
    for environ, args in (({}, ("get", "node", "--datastore", url)), ({"BGPNET_DATASTORE": url}, ("get", "node"))):
        refused = CliRunner(env=environ).invoke(cli, args, prog_name="bgpnetctl", catch_exceptions=False)
        assert refused.exit_code == 2
        assert "a URL is no place for a password; set ETCD_USERNAME and ETCD_PASSWORD instead, or" in refused.stderr
        assert SECRET not in refused.stderr


def test_secrets_are_in_no_representation(tmp_path: Path) -> None:
    path = config(tmp_path, "etcdEndpoints: a:1", "etcdUsername: u", f"etcdPassword: {SECRET}", f"etcdKey: {SECRET}")
    for found in (find(Asked(file=path), {}), find(Asked("etcd://a:1"), {"ETCD_PASSWORD": SECRET})):
        assert found.choice.said.password == SECRET
        assert SECRET not in f"{found} {found!r} {found.choice!r} {found.choice.said!r}"


def test_texts_of_certificates_are_read_as_files_are_and_are_in_no_file_system(tmp_path: Path) -> None:
    indented = PEM.replace("\n", "\n    ")
    lines = [f"{of}: |\n    {indented}" for of in ("etcdCACert", "etcdCert", "etcdKey")]
    found = configuration.of_file(config(tmp_path, "etcdEndpoints: https://a:1", *lines))
    tls = etcd_options.read(found.choice.url, found.choice.said).tls
    assert tls is not None
    for path in (tls.ca, tls.cert, tls.key):
        assert path is not None
        assert Path(path).read_text() == Path(path).read_text() == PEM
        assert "memfd:bgpnet-pem" in str(Path(path).readlink())


KUBERNETES: list[tuple[list[str], Access]] = [
    (["kubeconfigInline: |", f"  {SECRET}"], Access(inline=f"{SECRET}\n")),
    (["datastoreType: kubernetes", "kubeconfigInline: x", "k8sCurrentContext: b"], Access(inline="x", context="b")),
    (["k8sAPIEndpoint: https://a:6443", "k8sCAFile: /ca", f"k8sAPIToken: {SECRET}", "k8sInsecureSkipTLSVerify: true"],
     Access(server="https://a:6443", ca_file="/ca", token=SECRET, insecure=True)),
    (["k8sAPIEndpoint: https://a", "k8sCertFile: /c", "k8sKeyFile: /k", "k8sInsecureSkipTLSVerify: false"],
     Access(server="https://a", cert_file="/c", key_file="/k")),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "access"), KUBERNETES)
def test_a_file_names_the_api_server(lines: list[str], access: Access, tmp_path: Path) -> None:
    found = find(Asked(file=config(tmp_path, *lines)), {})
    assert (found.choice.url, found.choice.access, found.warnings) == ("kubernetes:", access, [])
    assert SECRET not in repr(found)


def test_a_kubeconfig_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text("")
    found = find(Asked(file=config(tmp_path, f"kubeconfig: {path}", "usePodCIDR: true")), {})
    assert found.choice.access == Access(kubeconfig=str(path))
    assert [each.partition("spec.")[2] for each in found.warnings] == [
        "usePodCIDR is accepted and not used: bgpnetctl has no such setting"
    ]
