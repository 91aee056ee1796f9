"""`python -m bgpnet_ctl` is `bgpnetctl`."""

from __future__ import annotations

from bgpnet_ctl.main import main

if __name__ == "__main__":
    main()
