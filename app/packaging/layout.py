"""Where things lie in the container, as the MAP specification has them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

APPLICATION = "/opt/holoscan/app"
MODELS = "/opt/holoscan/models"
DOCS = "/opt/holoscan/docs"
ENVIRONMENT = "/opt/holoscan/venv"
"""The virtual environment that holds theramap and what it needs."""
MANIFESTS = "/etc/holoscan"
WORK = "/var/holoscan"
EXPORT = "/var/run/holoscan/export"

COMMAND = f"python3 {APPLICATION}"
"""What runs the application: every way into the container ends here, so that none misses its checks."""

VARIABLES: Mapping[str, str] = {
    "HOLOSCAN_APPLICATION": APPLICATION,
    "HOLOSCAN_INPUT_PATH": f"{WORK}/input/",
    "HOLOSCAN_OUTPUT_PATH": f"{WORK}/output/",
    "HOLOSCAN_WORKDIR": f"{WORK}/",
    "HOLOSCAN_MODEL_PATH": f"{MODELS}/",
    "HOLOSCAN_CONFIG_PATH": f"{WORK}/app.yaml",
    "HOLOSCAN_APP_MANIFEST_PATH": f"{MANIFESTS}/app.json",
    "HOLOSCAN_PKG_MANIFEST_PATH": f"{MANIFESTS}/pkg.json",
    # the specification's spelling, then that of holoscan-cli
    "HOLOSCAN_DOCS": f"{DOCS}/",
    "HOLOSCAN_DOCS_PATH": f"{DOCS}/",
    "HOLOSCAN_LOGS": f"{WORK}/logs/",
    "HOLOSCAN_LOGS_PATH": f"{WORK}/logs/",
}


@dataclass(frozen=True, slots=True)
class Home:
    """The container's folders as this process finds them; variables move them for a trial outside."""

    application: Path
    models: Path
    docs: Path
    manifests: Path

    @property
    def digests(self) -> Path:
        """Return the list of what was packaged."""
        return self.manifests / "digests.json"


def home(environment: Mapping[str, str] | None = None) -> Home:
    """Return the container's folders.

    The models are those of the image: ``HOLOSCAN_MODEL_PATH`` may name a site's own, which the image knows
    nothing of, so it does not count here.
    """
    known = os.environ if environment is None else environment
    manifest = known.get("HOLOSCAN_APP_MANIFEST_PATH", VARIABLES["HOLOSCAN_APP_MANIFEST_PATH"])
    return Home(
        application=Path(known.get("HOLOSCAN_APPLICATION", APPLICATION)),
        models=Path(known.get("HOLOSCAN_MODEL_ROOT", MODELS)),
        docs=Path(known.get("HOLOSCAN_DOCS_PATH", DOCS)),
        manifests=Path(manifest).parent,
    )
