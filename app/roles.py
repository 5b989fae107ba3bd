"""The roles of the gateway: how each is started."""

from __future__ import annotations

ROLES = {
    "receive": ("app.gateway.receiver.receive", "run_receive"),
    "work": ("app.jobs.worker", "run_worker"),
    "deliver": ("app.jobs.deliverer", "run_deliverer"),
    "console": ("app.health", "run_console"),
}
"""Each is a process of its own, and a function from settings to exit code."""
