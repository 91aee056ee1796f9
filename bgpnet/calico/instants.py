"""Calico's instants: RFC 3339, and in attributes what Go prints, `2024-05-06 07:08:09.123456789 +0000 UTC`."""

from __future__ import annotations

import re
from datetime import datetime

from bgpnet.model import instant

UNKNOWN = "1970-01-01T00:00:00.000Z"
"""Where an instant is needed and Calico kept none."""
_FORM = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?\s*(Z|[+-]\d\d:?\d\d)?(?:\s.*)?\Z", re.ASCII | re.DOTALL
)


def rfc3339(given: object, otherwise: str = "") -> str:
    """As ours are written, in UTC with milliseconds; `otherwise` for what is none."""
    found = _FORM.match(given) if isinstance(given, str) else None
    if found is None:
        return otherwise
    day, time, fraction, zone = found.groups()
    zone = "+00:00" if zone in (None, "Z") else f"{zone[:3]}:{zone[-2:]}"
    try:
        return instant.stamp(datetime.fromisoformat(f"{day}T{time}.{(fraction or '0')[:3]:0<3}{zone}").timestamp())
    except (ValueError, OverflowError):
        return otherwise
