"""ExaBGP's lines, spoilt in 20,000 ways (`make fuzz`: a million), beside a reading that knows nothing of ours."""

from __future__ import annotations

import json

import lines_fuzzer

from bgpnet.bgp import lines
from bgpnet.bgp.rib import Update

INPUTS, SEED = 20_000, 7


def test_no_line_is_misread_and_the_relay_changes_none() -> None:
    report = lines_fuzzer.run(INPUTS, SEED)
    assert report.wrong == []
    assert report.inputs >= INPUTS
    assert report.relayed
    assert 0.3 * INPUTS < report.refused < report.spoilt  # some of the spoilt mean something all the same


def test_what_would_misread_is_found() -> None:
    def without_withdrawals(text: str) -> object:
        event = lines.parse(text)
        return Update(event.peer, event.announced) if isinstance(event, Update) else event

    def lenient(text: str) -> object:
        return lines.parse(text.replace(": true", ": 1").replace(': "1"', ": 1"))

    def deaf(text: str) -> object:
        return lines.Unknown(text)

    for reader in (without_withdrawals, lenient, deaf):
        assert lines_fuzzer.run(5_000, SEED, reader).wrong


def test_numbers_in_place_of_addresses_are_refused() -> None:
    said = {
        "peer": {"address": 5},
        "route": {"nlri": {"prefix": "10.0.0.0/8", "nexthop": "10.0.0.1"}, "attributes": {}},
    }
    assert isinstance(lines.parse(json.dumps(said)), lines.Unknown)
    for prefix in ("10.0.0.0", "10.0.0.1/8", 167772160, None):
        nlri = {"prefix": prefix, "nexthop": "10.0.0.1"}
        text = json.dumps({"peer": {"address": "10.0.0.1"}, "route": {"nlri": nlri, "attributes": {}}})
        assert isinstance(lines.parse(text), lines.Unknown)
