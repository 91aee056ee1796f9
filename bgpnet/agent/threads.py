"""The agent's threads are everybody's: bgpnet/threads.py."""

from __future__ import annotations

from bgpnet.threads import loudly as loudly
from bgpnet.threads import start as start
