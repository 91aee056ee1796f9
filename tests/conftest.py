"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Machines are shared and noisy: a case that once took 300 ms is no failure (and no test here is a timed one), nor is it
# when examples are made slowly. The same inputs every time, so that what passed here passes there; BGPNET_SOAK=1 draws
# others.
settings.register_profile(
    "noisy machine",
    deadline=None,
    derandomize=not os.environ.get("BGPNET_SOAK"),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("noisy machine")
