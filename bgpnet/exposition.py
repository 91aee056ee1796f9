"""Metrics as a scraper reads them: Prometheus' text exposition format, version 0.0.4. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, object], float]
"""Labels and a value."""


def one(value: float) -> list[Sample]:
    """The only sample of a metric that has no labels."""
    return [({}, value)]


def family(name: str, about: str, samples: Iterable[Sample], kind: str = "gauge") -> str:
    """All samples of a metric, with what it is about; kind: gauge or counter."""
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{_labels(labels)} {number(value)}" for labels, value in samples]
    return "\n".join([*lines, ""])


def _labels(labels: Mapping[str, object]) -> str:
    pairs = ",".join(f'{key}="{_escaped(str(value))}"' for key, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    """A value as it is written: whole numbers without a point."""
    return repr(float(value)).removesuffix(".0")
