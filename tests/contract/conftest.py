"""Fixtures of the contract suites: one parameter an implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from stores import BYTE_STORES, STORES

from bgpnet.store.api import Store


@pytest.fixture(params=sorted(STORES))
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[int], Store]:
    """Makes a store that keeps so many revisions of history."""
    return partial(STORES[request.param], tmp_path)


@pytest.fixture(params=sorted(BYTE_STORES))
def make_byte_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[int], Store]:
    """The same, of those that hold any bytes."""
    return partial(BYTE_STORES[request.param], tmp_path)


@pytest.fixture
def store(make_store: Callable[[int], Store]) -> Iterator[Store]:
    """An empty datastore."""
    made = make_store(1000)
    yield made
    made.close()
