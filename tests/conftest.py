"""What all tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Machines are shared and noisy: a case that once took 300 ms is no failure (and no test here is a timed one), nor is it
# when examples are made slowly.
settings.register_profile("noisy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("noisy machine")
