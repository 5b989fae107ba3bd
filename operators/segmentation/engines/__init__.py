"""What computes a network: one ``Session`` for each of OpenVINO, ONNX Runtime and torch, and the choice.

Importing this package keeps OpenVINO and NNCF from reporting to their makers: both send an event to Google
Analytics as soon as they are imported, without asking, through a module that both can do without.
"""

from __future__ import annotations

import sys

# an import of a module that is None fails as if it were not installed
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
