"""Settings: where they come from, which wins, and what is said about those that are wrong."""

from __future__ import annotations

import pytest

from bgpnet import config
from bgpnet.config import SETTINGS, Settings, load
from bgpnet.errors import UsageError

DEFAULTS = """
node                    BGPNET_NODE                    --node                    ''
datastore               BGPNET_DATASTORE               --datastore               'sqlite:///var/lib/bgpnet/store.db'
run_dir                 BGPNET_RUN_DIR                 --run-dir                 '/run/bgpnet'
state_dir               BGPNET_STATE_DIR               --state-dir               '/var/lib/bgpnet'
secrets_dir             BGPNET_SECRETS_DIR             --secrets-dir             ''
ip                      BGPNET_IP                      --ip                      ''
ip_autodetection_method BGPNET_IP_AUTODETECTION_METHOD --ip-autodetection-method 'first-found'
as_number               BGPNET_AS_NUMBER               --as-number               None
firewall                BGPNET_FIREWALL                --firewall                'required'
nat_outgoing_exclusions BGPNET_NAT_OUTGOING_EXCLUSIONS --nat-outgoing-exclusions 'IPPoolsOnly'
service_loop_prevention BGPNET_SERVICE_LOOP_PREVENTION --service-loop-prevention 'Drop'
prefix_limit            BGPNET_PREFIX_LIMIT            --prefix-limit            100000
kubernetes              BGPNET_KUBERNETES              --kubernetes              'auto'
kubernetes_namespace    BGPNET_KUBERNETES_NAMESPACE    --kubernetes-namespace    ''
health_host             BGPNET_HEALTH_HOST             --health-host             '127.0.0.1'
health_port             BGPNET_HEALTH_PORT             --health-port             9099
metrics_host            BGPNET_METRICS_HOST            --metrics-host            '127.0.0.1'
metrics_port            BGPNET_METRICS_PORT            --metrics-port            9091
log_level               BGPNET_LOG_LEVEL               --log-level               'info'
workers                 BGPNET_WORKERS                 --workers                 8
address_rest            BGPNET_ADDRESS_REST            --address-rest            30.0
address_keep            BGPNET_ADDRESS_KEEP            --address-keep            3600
leak_grace              BGPNET_LEAK_GRACE              --leak-grace              60.0
idle_after              BGPNET_IDLE_AFTER              --idle-after              60.0
cni_conf_dir            BGPNET_CNI_CONF_DIR            --cni-conf-dir            ''
cni_bin_dir             BGPNET_CNI_BIN_DIR             --cni-bin-dir             '/opt/cni/bin'
cni_plugins             BGPNET_CNI_PLUGINS             --cni-plugins             'auto'
cni_mtu                 BGPNET_CNI_MTU                 --cni-mtu                 0
"""


def test_the_table() -> None:
    rows = [f"{row.name:23} {row.env:30} {row.flag:25} {row.default!r}" for row in SETTINGS]
    assert "\n".join(rows) == DEFAULTS.strip("\n")
    assert all(row.help for row in SETTINGS)


def test_nothing_said_gives_the_defaults() -> None:
    assert load({}, {"PATH": "/bin"}, {}) == Settings()


def test_flags_beat_the_environment_which_beats_the_file() -> None:
    told = load(
        {"node": "of-file", "workers": 2, "log_level": "debug"},
        {"BGPNET_NODE": "of-env", "BGPNET_WORKERS": "3"},
        {"node": "of-flag", "workers": None},
    )
    assert (told.node, told.workers, told.log_level) == ("of-flag", 3, "debug")


def test_what_is_empty_is_not_set() -> None:
    assert load({"workers": None}, {"BGPNET_NODE": "", "BGPNET_WORKERS": ""}, {"ip": None}) == Settings()


def test_sockets_are_in_the_run_directory() -> None:
    told = load({"run_dir": "/tmp/n1/"}, {}, {})
    assert (told.agent_socket, told.speaker_socket) == ("/tmp/n1/agent.sock", "/tmp/n1/speaker.sock")


GOOD = [
    ("node", "node-1.example", "node-1.example"),
    ("datastore", "sqlite:///tmp/s.db", "sqlite:///tmp/s.db"),
    ("datastore", "etcd://127.0.0.1:2379,127.0.0.2:2379", "etcd://127.0.0.1:2379,127.0.0.2:2379"),
    ("datastore", "kubernetes:", "kubernetes:"),
    ("run_dir", "/", "/"),
    ("run_dir", "/" + "x" * 93, "/" + "x" * 93),
    ("ip", "192.0.2.1", "192.0.2.1"),
    ("ip", "192.0.2.1/24", "192.0.2.1/24"),
    ("ip_autodetection_method", "interface=eth.*,bond0", "interface=eth.*,bond0"),
    ("ip_autodetection_method", "", "first-found"),
    ("ip_autodetection_method", "can-reach=192.0.2.1", "can-reach=192.0.2.1"),
    ("ip_autodetection_method", "kubernetes-internal-ip", "kubernetes-internal-ip"),
    ("kubernetes", "in-cluster", "in-cluster"),
    ("kubernetes", "/etc/kubeconfig", "/etc/kubeconfig"),
    ("kubernetes_namespace", "net", "net"),
    ("health_port", "0", 0),
    ("as_number", 64512, 64512),
    ("as_number", "4294967295", 4294967295),
    ("as_number", "1.10", 65546),
    ("as_number", "0.1", 1),
    ("as_number", "", None),
    ("workers", 1, 1),
    ("workers", "256", 256),
    ("workers", 8.0, 8),
    ("address_rest", 0, 0.0),
    ("address_rest", "1200", 1200.0),
    ("address_rest", "0.5", 0.5),
    ("cni_conf_dir", "/etc/cni/net.d", "/etc/cni/net.d"),
    ("cni_conf_dir", "", ""),
    ("cni_plugins", "auto", "auto"),
    ("cni_plugins", "none", "none"),
    ("cni_plugins", "tuning, firewall", '[{"type": "tuning"}, {"type": "firewall"}]'),
    ("cni_plugins", '[{"type": "tuning", "mtu": 1400}]', '[{"type": "tuning", "mtu": 1400}]'),
    ("cni_plugins", [{"type": "sbr", "table": 100}], '[{"type": "sbr", "table": 100}]'),
    ("cni_plugins", [{"type": "tuning", "mtu": 1400}], '[{"type": "tuning", "mtu": 1400}]'),
    ("cni_mtu", "1400", 1400),
    ("cni_mtu", 0, 0),
]


@pytest.mark.parametrize(("name", "said", "value"), GOOD)
def test_a_right_value(name: str, said: object, value: object) -> None:
    assert getattr(load({name: said}, {}, {}), name) == value
    assert getattr(load({}, {}, {name: said}), name) == value


AS = "it must be 1 to 4294967295, or dotted such as '1.10' in quotes"
WORKERS = "it must be a whole number from 1 to 256"
REST = "it must be seconds from 0 to 1200"
IP = "it must be an IPv4 address such as 192.0.2.1 or 192.0.2.1/24, or empty to look for one"
BAD = [
    ("node", "Node_1", "it must be a lower-case DNS name of at most 253 characters, such as node1"),
    ("node", 7, "it must be text; put it in quotes"),
    ("datastore", "mysql://x", "it must be sqlite:///PATH, etcd://HOST:PORT[,HOST:PORT…] or kubernetes:"),
    ("datastore", "sqlite:///", "it must be sqlite:///PATH, etcd://HOST:PORT[,HOST:PORT…] or kubernetes:"),
    ("run_dir", "run/bgpnet", "it must be a path that begins with /"),
    ("run_dir", "/" + "é" * 47, "it must be at most 94 bytes long: a socket's path has 107 at most"),
    ("kubernetes", "kube.conf", "it must be auto, in-cluster, none, or the path of a kubeconfig"),
    ("kubernetes_namespace", "a.b", "it must be a namespace's name, such as kube-system"),
    ("state_dir", "", "it must be a path that begins with /"),
    ("cni_conf_dir", "net.d", "it must be a path that begins with /"),
    ("cni_plugins", "portmap,bgpnet", "it names bgpnet, which is the first plugin of the list anyway: leave it out"),
    *(
        (
            "cni_plugins",
            [{"type": "tuning", **by}],
            "tuning in it is to set the pod's MAC, which cuts it off: bgpnet sets it itself (docs/cni.md)",
        )
        for by in ({"mac": "02:11:22:33:44:55"}, {"capabilities": {"mac": True}})
    ),
    *(
        (
            "cni_plugins",
            by,
            "sbr in it takes the pod's default route away, which cuts it off: leave it out (docs/cni.md)",
        )
        for by in ("portmap,sbr", [{"type": "sbr"}])
    ),
    *(
        (
            "cni_plugins",
            [{"type": "other", "capabilities": odd}],
            f'the capabilities of other in it are {odd!r}: write an object such as {{"mac": true}}',
        )
        for odd in (["mac"], 7, {"mac": "false"})
    ),
    ("cni_plugins", "portmap,portmap", "it names portmap twice: leave one out"),
    ("cni_plugins", "../sh", "'../sh' in it is no plugin: write its name, or its configuration with a type"),
    (
        "cni_plugins",
        [{"sysctl": {}}],
        "{'sysctl': {}} in it is no plugin: write its name, or its configuration with a type",
    ),
    ("cni_plugins", 7, "it must be auto, none, names such as portmap,tuning, or a list of plugins"),
    ("cni_mtu", 67, "it must be 0 for the node's, or a whole number from 68 to 65535"),
    ("cni_mtu", "big", "it must be 0 for the node's, or a whole number from 0 to 65535"),
    ("ip", "192.0.2.256", IP),
    ("ip", "192.0.2.1/33", IP),
    ("ip", "fd00::1", IP),
    ("as_number", 0, AS),
    ("as_number", 4294967296, AS),
    ("as_number", 1.10, AS),
    ("as_number", "1.65536", AS),
    ("as_number", "65536.0", AS),
    ("as_number", True, AS),
    ("as_number", "-1", AS),
    ("log_level", "loud", "it must be one of debug, info, warning, error"),
    ("log_level", ["info"], "it must be one of debug, info, warning, error"),
    ("workers", 0, WORKERS),
    ("workers", "257", WORKERS),
    ("workers", "many", WORKERS),
    ("workers", 1.5, WORKERS),
    ("workers", True, WORKERS),
    ("workers", [4], WORKERS),
    ("address_rest", -0.1, REST),
    ("address_rest", 1200.1, REST),
    ("address_rest", "nan", REST),
]


@pytest.mark.parametrize(("name", "said", "allowed"), BAD)
def test_a_wrong_value_is_named_with_its_source_and_what_is_allowed(name: str, said: object, allowed: str) -> None:
    with pytest.raises(UsageError) as refused:
        load({name: said}, {}, {})
    assert str(refused.value) == f"{name} in the settings file is {said!r}: {allowed}"


def test_the_other_sources_are_named_too() -> None:
    with pytest.raises(UsageError) as refused:
        load({}, {"BGPNET_WORKERS": "no"}, {"run_dir": "x"})
    assert str(refused.value) == (
        "the environment variable BGPNET_WORKERS is 'no': it must be a whole number from 1 to 256; "
        "the flag --run-dir is 'x': it must be a path that begins with /"
    )


def test_a_method_is_read_when_the_agent_starts_not_later() -> None:
    with pytest.raises(
        UsageError,
        match=r"BGPNET_IP_AUTODETECTION_METHOD is 'can-reach=a b': can-reach= takes one IPv4 address or host name",
    ):
        load({}, {"BGPNET_IP_AUTODETECTION_METHOD": "can-reach=a b"}, {})


def test_a_wrong_value_in_the_file_is_refused_even_where_a_flag_beats_it() -> None:
    with pytest.raises(UsageError, match="workers in the settings file is 0"):
        load({"workers": 0}, {}, {"workers": 4})


@pytest.mark.parametrize(
    ("wrong", "closest"), [("run-dir", "run_dir"), ("as", "as_number"), ("loglevel", "log_level"), (7, "")]
)
def test_an_unknown_key_of_the_file(wrong: str, closest: str) -> None:
    with pytest.raises(UsageError, match=f"^'{wrong}' in the settings file is not a setting: remove it, .* {closest}"):
        load({wrong: "x"}, {}, {})


def test_an_unknown_variable_of_the_environment() -> None:
    with pytest.raises(UsageError) as refused:
        load({}, {"BGPNET_STATEDIR": "/x", "OTHER": "1"}, {})
    assert str(refused.value) == (
        "the environment variable BGPNET_STATEDIR is not a setting: "
        "remove it, or write the closest that is one, BGPNET_STATE_DIR"
    )


def test_variables_that_others_set_are_none_of_the_agents() -> None:
    of_a_service = {
        "BGPNET_SERVICE_HOST": "10.96.0.9",
        "BGPNET_SERVICE_PORT": "9091",
        "BGPNET_SERVICE_PORT_METRICS": "9091",
        "BGPNET_PORT": "tcp://10.96.0.9:9091",
        "BGPNET_PORT_9091_TCP": "tcp://10.96.0.9:9091",
        "BGPNET_PORT_9091_TCP_ADDR": "10.96.0.9",
        "BGPNET_AGENT_SERVICE_HOST": "10.96.0.9",
        "BGPNET_AGENT_PORT": "udp://10.96.0.9:53",
    }
    others = dict.fromkeys([*config.NOT_SETTINGS, "BGPNET_SECRET_BGP_TOR"], "1")
    assert load({}, {**of_a_service, **others}, {}) == Settings()
    with pytest.raises(UsageError, match="BGPNET_AGENT_PORT is not a setting"):
        load({}, {"BGPNET_AGENT_PORT": "179"}, {})
