"""`python -m bgpnet.kube.crd.main manifests/crds`: writes the CustomResourceDefinitions there."""

from __future__ import annotations

import sys
from pathlib import Path

from bgpnet.kube.crd import definitions


def main(folder: str) -> None:
    """Every file that is another than it should be; others' files there stay."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in definitions.files().items():
        path = Path(folder) / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(path)


if __name__ == "__main__":
    main(sys.argv[1])
