"""The forms in which people's files come, and what Calico's documentation shows, through the datastore and back."""

from __future__ import annotations

import json

import pytest
from test_calico_files import CALICOCTL, KUBECTL

from bgpnet import codec
from bgpnet.errors import Invalid
from bgpnet.model.kinds import kind_of, subject
from bgpnet.store.memory import MemoryStore
from bgpnet.store.repo import Repo
from bgpnet_ctl import changes, params, reading

POOL = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: a\nspec:\n  cidr: 10.0.0.0/16\n"
A = {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "a"}, "spec": {"cidr": "10.0.0.0/16"}}
B = {**A, "metadata": {"name": "b"}, "spec": {"cidr": "10.1.0.0/16"}}
PEER = "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: a}\nspec: {peerIP: 192.0.2.1, asNumber: AS}\n"
LIST = {"apiVersion": "v1", "kind": "List"}

GOOD = {
    "lines that end in CR LF": POOL.replace("\n", "\r\n"),
    "lines that end in CR": POOL.replace("\n", "\r"),
    "a byte order mark": f"\ufeff{POOL}",
    "JSON with a byte order mark and CR LF": "\ufeff" + json.dumps(A, indent=1).replace("\n", "\r\n"),
    "JSON with tabs": json.dumps(A, indent="\t"),
    "empty documents around it": f"---\n---\n{POOL}...\n---\n# nothing\n---\n",
    "an array": json.dumps([A]),
    "a List": json.dumps({**LIST, "items": [A]}),
    "a List in a List": json.dumps({**LIST, "items": [{**LIST, "items": [A]}]}),
    "an IPPoolList of the Kubernetes API": "apiVersion: crd.projectcalico.org/v1\nkind: IPPoolList\nmetadata: {}\n"
    "items:\n- metadata: {name: a}\n  spec: {cidr: 10.0.0.0/16}\n",
    "metadata without a value": POOL.replace("  name: a\n", "  name: a\n  creationTimestamp: null\n  labels:\n"),
    "what a server added": POOL.replace(
        "  name: a\n", "  name: a\n  uid: x\n  generation: 3\n  selfLink: /x\n  managedFields: [{manager: x}]\n"
    ),
    "a status": f"{POOL}status: {{}}\n",
    "a fraction that is none": json.dumps({**A, "spec": {**A["spec"], "blockSize": 26.0}}),  # type: ignore[dict-item]
    "yes for true": f"{POOL}  disabled: yes\n",
    "an anchor": POOL.replace("  name: a\n", "  name: a\n  labels: &l {x: y}\n  annotations: *l\n"),
    "a merge": json.dumps(LIST)[:-1] + ", items: [{apiVersion: bgpnet.io/v1, kind: IPPool, metadata: {name: a},"
    " spec: &s {cidr: 10.0.0.0/16, blockSize: 28}},"
    " {apiVersion: bgpnet.io/v1, kind: IPPool, metadata: {name: b}, spec: {<<: *s, cidr: 10.1.0.0/16}}]}",
    "several JSON values": f"{json.dumps(A)}\n{json.dumps(B)}\n",
    "JSON documents": f"{json.dumps(A)}\n---\n{json.dumps(B)}",
    "an AS number as text": PEER.replace("AS", '"64512"'),
    "a dotted AS number": PEER.replace("AS", "1.10"),
}


@pytest.mark.parametrize("written", GOOD.values(), ids=GOOD)
def test_what_is_taken(written: str) -> None:
    found = [subject(each) for each in codec.decode(written)]
    assert found[0] in ("IPPool(a)", "BGPPeer(a)")
    assert found[1:] in ([], ["IPPool(b)"])


BAD = {
    "a tab": (POOL.replace("  cidr", "\tcidr"), "line 6, column 1: is not YAML"),
    "a key twice": (f"{POOL}  cidr: 10.1.0.0/16\n", "line 7, column 3: the key 'cidr' is written twice"),
    "a key twice in JSON": ('{"kind": "IPPool", "kind": "IPPool"}', "the key 'kind' is written twice"),
    "a number as text": (f'{POOL}  blockSize: "26"\n', "spec.blockSize = '26': must be a whole number such as 26, wit"),
    "true as text": (f'{POOL}  disabled: "true"\n', "spec.disabled = 'true': must be true or false, without quotes"),
    "a dotted number in JSON": (
        json.dumps({"apiVersion": "bgpnet.io/v1", "kind": "BGPPeer", "metadata": {"name": "a"},
                    "spec": {"peerIP": "192.0.2.1", "asNumber": 1.10}}),
        'spec.asNumber = 1.1: must be 1 to 4294967295, or dotted and in quotes, like "1.10"',
    ),
    "a merge of a text": (f"{POOL}  <<: all\n", "<< merges mappings, and this is none; write <<: *anchor of a mapping"),
    "a kind of Calico's": (POOL.replace("IPPool", "FelixConfiguration"), "is a kind of Calico's only: what of it"),
    "NUL": (f"{POOL}\0", "is not YAML: control characters are not allowed"),
}  # fmt: skip


@pytest.mark.parametrize(("written", "sentence"), BAD.values(), ids=BAD)
def test_what_is_refused(written: str, sentence: str) -> None:
    with pytest.raises(Invalid) as refused:
        codec.decode(written)
    assert sentence in str(refused.value)


DERIVED = {
    "IPAMBlock": "{affinity: 'host:n1', allocations: [0, null], attributes: [{handle_id: x}], cidr: 10.0.0.0/26,"
    " deleted: false, strictAffinity: false, unallocated: [1]}",
    "BlockAffinity": "{cidr: 10.0.0.0/26, deleted: 'false', node: n1, state: confirmed}",
    "WorkloadEndpoint": "{node: n1, orchestrator: k8s, pod: a, endpoint: eth0, containerID: 1337, ports: [{port: x}]}",
}


@pytest.mark.parametrize("kind", DERIVED)
def test_calicos_own_of_a_derived_kind_has_one_finding(kind: str) -> None:
    written = f"{{apiVersion: crd.projectcalico.org/v1, kind: {kind}, metadata: {{name: a}}, spec: {DERIVED[kind]}}}"
    (examined,) = codec.examine(written)
    (finding,) = examined.findings
    assert finding.path == "kind"
    assert "by the agents alone; take it out, and " in finding.problem


@pytest.mark.parametrize("text", [CALICOCTL, KUBECTL], ids=["calicoctl's", "kubectl's"])
@pytest.mark.parametrize("output", [params.YAML, params.JSON])
def test_what_calico_documents_goes_through_the_datastore_and_back(text: str, output: str) -> None:
    """Apply, get, apply again and replace: the second and third change nothing."""
    repo = Repo(MemoryStore())
    filters = "apiVersion: bgpnet.io/v1\nkind: BGPFilter\nmetadata: {name: second-bgp-filter}\nspec: {}\n---\n"
    given = codec.decode(filters + text)
    assert changes.write(repo, changes.APPLY, given).failed == ""
    words = tuple(f"{kind_of(each).aliases[0]}/{each.metadata.name}" for each in given)
    shown = reading.get(repo, words, (), output)
    again = codec.decode(shown)
    assert [subject(each) for each in again] == [subject(each) for each in given]
    for verb in (changes.APPLY, changes.REPLACE):
        assert changes.write(repo, verb, again).failed == ""
        assert reading.get(repo, words, (), output) == shown
    assert (
        changes.delete(repo, [(kind_of(each), each.metadata.name) for each in again], skip_missing=False).failed == ""
    )
