"""Imports from end to end, through the sandbox; and what is left when they fail: nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from app.models import sandbox
from app.models.confine import landlock_abi
from app.models.foreign import Details, digest_of, import_model
from app.models.request import ImportRefusal, ImportRequest
from app.models.sandbox import Limits
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.read import read_package
from operators.segmentation.package.types import Modality, Task
from tests.app.models.drafts import DRAFT, Network
from tests.app.models.results import FULL, Hostile, configuration, plans, write_trained
from tests.conftest import missing

SAYS_WHERE = "import os\nraise SystemExit(os.path.dirname(os.path.dirname(os.environ['TMPDIR'])))"


@pytest.fixture(autouse=True)
def _confined() -> None:
    if not landlock_abi():
        missing("Landlock")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_trained(tmp_path / "Dataset900_Tiny-Organs", plans({"3d_fullres": configuration()}))


def bring(source: Path, **more: Any) -> Any:
    models = source.parents[1] / "models"
    return import_model(source, models, **{"allowed": {digest_of(source)}, "task": "organs", **more})


def refused(source: Path, **more: Any) -> ImportRefusal:
    """The refusal of an import, which must leave the folder of packages as it was."""
    models = source.parents[1] / "models"
    before = sorted(models.rglob("*")) if models.exists() else []
    with pytest.raises(ImportRefusal) as caught:
        bring(source, **more)
    assert sorted(models.rglob("*")) == before
    return caught.value


def test_imports_an_nnunet_folder(source: Path) -> None:
    package = bring(source)
    assert package.name == "tiny_organs"
    assert package.folder == source.parents[1] / "models" / "tiny_organs"
    assert package.origin.sha256 == digest_of(source)
    assert package.origin.format == "nnunet_v2"
    assert read_package(package.folder, verify=True) == package
    assert [path.name for path in package.folder.parent.iterdir()] == ["tiny_organs"]
    assert refused(source).code == "PACKAGE_EXISTS"
    # a package of ours needs no permission, and comes back the same
    away = source.parents[1] / "away" / "tiny_organs"
    shutil.copytree(package.folder, away)
    again = import_model(away, source.parents[1] / "others", allowed=())
    assert again.digest == package.digest
    shutil.make_archive(str(away), "zip", away.parent, away.name)
    details = Details(replace=True)
    zipped = import_model(away.with_suffix(".zip"), again.folder.parent, allowed=(), details=details)
    assert zipped.digest == package.digest
    weights = away / "fold_0.pt"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(PackageError, match="SHA-256"):
        import_model(away, again.folder.parent, allowed=(), details=details)
    assert read_package(again.folder).digest == package.digest


def test_paths_may_be_relative(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source.parent)
    monkeypatch.setattr("app.models.foreign.PROGRAM", SAYS_WHERE)
    with pytest.raises(ImportRefusal, match=re.escape(str(source.parent / "../models"))):
        import_model(Path(source.name), Path("../models"), allowed={digest_of(source)})


@pytest.mark.slow
@pytest.mark.parametrize("top", [".", FULL])
def test_imports_a_zipped_nnunet_folder(source: Path, top: str) -> None:
    archive = Path(shutil.make_archive(str(source.parents[1] / "z" / "zipped"), "zip", source.parent, top))
    package = bring(archive)
    assert (package.name, package.origin.sha256) == ("zipped", digest_of(archive))
    assert package.stages == bring(source).stages


def test_refuses_what_the_site_has_not_allowed(source: Path) -> None:
    refusal = refused(source, allowed={"0" * 64})
    assert refusal.code == "SOURCE_NOT_ALLOWED"
    assert digest_of(source) in refusal.sentence


def test_clears_away_what_a_killed_import_left(source: Path) -> None:
    models = source.parents[1] / "models"
    (models / ".importing-old").mkdir(parents=True)
    (models / ".importing-new").mkdir()
    os.utime(models / ".importing-old", (0, 0))
    with pytest.raises(ImportRefusal):
        bring(source, allowed=())
    assert [path.name for path in models.iterdir()] == [".importing-new"]


def test_a_change_after_it_was_allowed_is_seen(source: Path) -> None:
    allowed = {digest_of(source)}
    (source / "dataset.json").write_text((source / "dataset.json").read_text() + " ")
    assert refused(source, allowed=allowed).code == "SOURCE_NOT_ALLOWED"


@pytest.mark.parametrize(
    "wrong", [{"name": "../x"}, {"orientation": "RRS"}, {"task": "bones"}, {"modalities": ["MR"]}]
)
def test_refuses_a_malformed_request(source: Path, wrong: dict[str, Any]) -> None:
    assert refused(source, **wrong).code == "REQUEST_INVALID"


def test_a_hostile_pickle_runs_nowhere(source: Path, tmp_path: Path) -> None:
    path = source / "fold_0" / "checkpoint_final.pth"
    torch.save({"network_weights": Hostile(tmp_path / "ran"), "trainer_name": "nnUNetTrainer"}, path)
    assert refused(source).code == "CHECKPOINT_UNSAFE"
    assert not (tmp_path / "ran").exists()


def test_code_is_not_converted_where_it_cannot_be_confined(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = "import app.models.confine as c\nc.landlock_abi = lambda: 0\n"
    monkeypatch.setattr(sandbox, "ENTER", blind + sandbox.ENTER)
    assert refused(source).code == "SANDBOX_UNAVAILABLE"


def test_a_conversion_that_takes_too_long_is_ended(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.models.foreign.PROGRAM", "import time\ntime.sleep(60)")
    refusal = refused(source, details=Details(limits=Limits(seconds=1)))
    assert refusal.code == "CONVERSION_TOO_LONG"


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("raise SystemExit(0)", "MODEL_MISSING"),
        ("raise ValueError('\\x1b[31mno')", "CONVERSION_FAILED"),
        ("import os\nos.abort()", "CONVERSION_FAILED"),
        ("raise SystemExit(3)", "CONVERSION_FAILED"),
    ],
)
def test_what_a_hostile_child_says_is_not_believed(
    source: Path, monkeypatch: pytest.MonkeyPatch, program: str, code: str
) -> None:
    monkeypatch.setattr("app.models.foreign.PROGRAM", program)
    with pytest.raises((ImportRefusal, PackageError)) as caught:
        bring(source)
    assert caught.value.code == code
    assert "\x1b" not in caught.value.sentence
    assert list((source.parents[1] / "models").iterdir()) == []


@pytest.mark.slow
def test_a_failed_replacement_leaves_the_former_package(source: Path) -> None:
    package = bring(source, name="mine")
    checkpoint = source / "fold_0" / "checkpoint_final.pth"
    checkpoint.write_bytes(checkpoint.read_bytes()[:2000])
    assert refused(source, name="mine", details=Details(replace=True)).code == "CHECKPOINT_DAMAGED"
    assert read_package(package.folder).digest == package.digest


@pytest.mark.slow
def test_imports_torchscript(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    source, draft = tmp_path / "s" / "net.ts", tmp_path / "draft.json"
    torch.jit.script(Network().eval()).save(str(source))
    draft.write_text(json.dumps(DRAFT))
    package = bring(source, describe=draft, task="lesions")
    assert (package.name, package.origin.format) == ("net", "torchscript")
    assert refused(source, name="other").code == "DESCRIPTION_NEEDED"


@pytest.mark.slow
def test_imports_a_bundle_as_folder_and_as_zip(tmp_path: Path) -> None:
    from tests.app.models.bundles import write_bundle

    bundle = write_bundle(tmp_path / "b" / "abdomen")
    package = bring(bundle)
    assert (package.name, package.origin.format) == ("abdomen", "monai_bundle")
    archive = Path(shutil.make_archive(str(bundle), "zip", bundle.parent, "abdomen"))
    again = bring(archive, name="zipped")
    assert again.stages[0].weights == package.stages[0].weights


@pytest.mark.slow
def test_a_bundle_s_expressions_stay_in_the_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.app.models.bundles import write_bundle

    monkeypatch.setenv("THERAMAP_DATABASE_PASSWORD", "hunter2")
    bundle = write_bundle(tmp_path / "b" / "evil")
    path = bundle / "configs" / "inference.json"
    content = json.loads(path.read_text())
    for attempt, error in (
        (f"open({str(tmp_path / 'ran')!r}, 'w')", "PermissionError|Permission denied"),
        ("__import__('os').environ['THERAMAP_DATABASE_PASSWORD']", "KeyError|THERAMAP_DATABASE_PASSWORD"),
    ):
        network = {**content["network_def"], "out_channels": f"$3 if {attempt} else 3"}
        path.write_text(json.dumps(content | {"network_def": network}))
        with pytest.raises((ImportRefusal, PackageError), match=error) as caught:
            bring(bundle)
        assert "hunter2" not in caught.value.sentence
        assert not (tmp_path / "ran").exists()


def test_a_request_survives_its_journey() -> None:
    request = ImportRequest(
        "tiny",
        Task.LESIONS,
        "a" * 64,
        "theramap",
        modalities=(Modality.CT,),
        folds=("0", "all"),
        describe=DRAFT,
    )
    assert ImportRequest.from_json(request.to_json()) == request
    with pytest.raises(ValueError, match="not an import request"):
        ImportRequest.from_json('{"name": "tiny", "run": "code"}')


def test_the_trainer_s_folder_is_the_data_set_s(source: Path) -> None:
    assert source.name == FULL
    assert digest_of(source) == digest_of(source.parent)
