"""The MAP entry: ``python app -i IN -o OUT -m MODELS``, with the SDK's options and HOLOSCAN_* variables."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    # Started as a folder: the package is found beside it, and its modules must not shadow others.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)


def main() -> int:
    """Run the MAP on the paths of the command line or of the environment."""
    from app.run import prepare_holoscan, run
    from app.settings import SettingsError, read_settings

    try:
        settings = read_settings()
    except SettingsError as error:
        sys.stderr.write(f"settings: {error}\n")
        return 2
    prepare_holoscan()
    from monai.deploy.core import init_app_context

    context = init_app_context(sys.argv)
    named = context.args.get("model")  # context.model_path is "models" where nothing names one
    models = Path(named) if named else None
    code, _ = run(Path(context.input_path), Path(context.output_path), settings, models=models)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
