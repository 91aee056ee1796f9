"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# Machines are shared and noisy: a case that once took 300 ms is no failure (and no test here is a timed one).
settings.register_profile("noisy machine", deadline=None)
settings.load_profile("noisy machine")
