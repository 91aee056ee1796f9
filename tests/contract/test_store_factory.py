"""Datastore URLs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bgpnet.errors import UsageError
from bgpnet.store.api import ABSENT
from bgpnet.store.factory import open_store


def test_a_file_by_its_absolute_path(tmp_path: Path) -> None:
    path = tmp_path / "new" / "st%20ore?x#y.db"
    store = open_store(f"sqlite://{path}")
    store.put("/t/a", b"", ABSENT)
    store.close()
    assert path.stat().st_size > 0


def test_memory_is_a_new_one_each_time() -> None:
    open_store("memory:").put("/t/a", b"", ABSENT)
    assert open_store("memory:").get("/t/a") is None


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sqlite://relative/store.db", "names no file by its absolute path, such as sqlite:///var/lib/bgpnet/store.db"),
        ("sqlite:/var/lib/store.db", "names no file by its absolute path, such as sqlite:///var/lib/bgpnet/store.db"),
        ("sqlite:store.db", "names no file by its absolute path"),
        ("sqlite:///", "names no file by its absolute path"),
        ("sqlite:///var/lib/", "names no file by its absolute path"),
        ("kubernetes:cluster", "write kubernetes: alone, and set KUBECONFIG, or kubernetes:///path/of/a/kubeconfig"),
        ("kubernetes://host:6443", "write kubernetes: alone, and set KUBECONFIG, or kubernetes:///path/of/a/kubeconfig"),
        ("memory:x", "takes nothing after the colon"),
        ("mysql://x", "begins with no scheme of sqlite, etcd, kubernetes, memory"),
        ("/var/lib/x.db", "begins with no scheme of sqlite, etcd, kubernetes, memory; "
         "a file is named sqlite:///var/lib/x.db"),
        ("https://10.0.0.1:2379", "an etcd is named etcd://HOST:PORT,…, and ETCD_CA_CERT_FILE makes it TLS"),
        ("", "begins with no scheme of sqlite, etcd, kubernetes, memory"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        open_store(url)
    text = str(refused.value)
    assert text.startswith(f"datastore {url!r}: ")
    assert sentence in text
    assert "\n" not in text


def test_only_the_store_that_is_asked_for_is_imported() -> None:
    program = (
        "import sys\n"
        "from bgpnet.store.factory import open_store\n"
        "open_store('memory:')\n"
        "print([name for name in ('sqlite3', 'etcd3', 'lightkube', 'httpx2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"


def test_kubernetes_is_paid_for_by_those_who_connect_to_it() -> None:
    """What agents of other datastores import of it, and all of bgpnetctl, is small."""
    program = (
        "import sys\n"
        "import bgpnet.kube.reflector, bgpnet.store.kubernetes, bgpnet.agent.feeds, bgpnet_ctl.main\n"
        "print([name for name in ('lightkube', 'httpx2', 'ssl', 'asyncio', 'etcd3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"
