"""The last step of the build: what goes, what is listed, the bill of materials and the licences."""

from __future__ import annotations

import json
import os
import platform
import sys
import uuid
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from app.packaging.bill import (
    Base,
    DebianPackage,
    bill_of_materials,
    debian_packages,
    is_debians,
    licence,
    licence_report,
    read_base,
)
from app.packaging.checkout import Checkout
from app.packaging.digests import Digests, record_digest
from app.packaging.requirements import read_contents
from app.packaging.seal import compile_all, refresh_record, remove, remove_others


def installed(site: Path, name: str, *fields: str, version: str = "1.0") -> PathDistribution:
    info = site / f"{name}-{version}.dist-info"
    (site / name).mkdir(parents=True)
    info.mkdir()
    (site / name / "code.py").write_text("VALUE = 1\n", "utf-8")
    (info / "LICENSE.txt").write_text("as you like", "utf-8")
    head = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(head + "".join(f"{field}\n" for field in fields), "utf-8")
    digest = record_digest(site / name / "code.py")
    rows = [f"{name}/gone.py,sha256=x,1", f"{name}/code.py,{digest},10", f"{info.name}/METADATA,,"]
    rows += [f"{info.name}/LICENSE.txt,,", f"{info.name}/RECORD,,"]
    (info / "RECORD").write_text("\n".join(rows) + "\n", "utf-8")
    return PathDistribution(info)


def test_files_that_a_pattern_names_go_but_for_the_one_that_is_needed(tmp_path: Path) -> None:
    for name in ("torch/bin/protoc", "torch/bin/torch_shm_manager", "torch/test/a", "torch/lib/keep.so"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "torch" / "bin" / "link").symlink_to("protoc")
    remove(tmp_path, "torch/bin/*", "torch_shm_manager")
    remove(tmp_path, "torch/test", None)
    remove(tmp_path, "no/such/*", None)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["torch/bin/torch_shm_manager", "torch/lib/keep.so"]


def test_everything_beside_the_projects_own_says_why(checkout: Checkout) -> None:
    contents = read_contents(checkout)
    entries = [
        *contents["also"],
        *contents["files"],
        *contents["without"]["cpu"],
        *contents["without"]["gpu"],
    ]
    assert all(entry["why"] for entry in entries)


def test_a_record_holds_what_is_there_with_its_digests(tmp_path: Path) -> None:
    distribution = installed(tmp_path, "some")
    (tmp_path / "some-1.0.dist-info" / "METADATA").write_text("Name: some\nVersion: 1.0\n", "utf-8")
    refresh_record(distribution)
    lines = (tmp_path / "some-1.0.dist-info" / "RECORD").read_text("utf-8").splitlines()
    rows = {line.split(",")[0]: line.split(",")[1] for line in lines}
    assert rows.keys() == {
        "some/code.py",
        "some-1.0.dist-info/METADATA",
        "some-1.0.dist-info/LICENSE.txt",
        "some-1.0.dist-info/RECORD",
    }
    info = tmp_path / "some-1.0.dist-info"
    assert rows["some-1.0.dist-info/METADATA"] == record_digest(info / "METADATA")
    assert rows["some-1.0.dist-info/RECORD"] == ""


def test_bytecode_is_the_same_whenever_and_wherever_it_is_made(tmp_path: Path) -> None:
    made = []
    for stamp in (1, 1_700_000_000):
        site = tmp_path / "site"
        source = site / "some" / "code.py"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text("def f():\n    return 'value'\n", "utf-8")
        (site / "some" / "tests").mkdir(exist_ok=True)
        (site / "some" / "tests" / "test_code.py").touch()
        os.utime(source, (stamp, stamp))
        compile_all(site)
        made.append(next(source.parent.glob("__pycache__/*.pyc")).read_bytes())
        assert not (site / "some" / "tests" / "__pycache__").exists()
        remove_others(site)
        assert not list(site.rglob("*.pyc"))
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (("License-Expression: Apache-2.0 AND MIT",), "Apache-2.0 AND MIT"),
        (
            ("License: Something long", "Classifier: License :: OSI Approved :: BSD License"),
            "BSD License",
        ),
        (("License: MIT | X",), "MIT / X"),
        (("License: UNKNOWN",), None),
        (("Classifier: License :: OSI Approved",), None),
        ((), None),
    ],
)
def test_a_licence_is_what_the_distribution_states(
    tmp_path: Path, fields: tuple[str, ...], said: str | None
) -> None:
    assert licence(installed(tmp_path, "some", *fields)) == said


def test_the_licence_report_is_a_table(tmp_path: Path) -> None:
    both = [installed(tmp_path, "some", "License: MIT"), installed(tmp_path, "other")]
    rows = [line for line in licence_report(both).splitlines() if line.startswith("| ")][1:]
    assert rows == [
        "| some | 1.0 | MIT | some-1.0.dist-info/LICENSE.txt |",
        "| other | 1.0 | not stated | other-1.0.dist-info/LICENSE.txt |",
    ]


def test_the_bill_names_libraries_models_and_debian_packages(tmp_path: Path) -> None:
    digests = Digests(
        theramap="1.2.3",
        variant="cpu",
        models={"lesions/a.onnx": "1" * 64, "lesions/model.json": "2" * 64},
        wheels={"Some_Thing==2.0+cpu": "3" * 64},
    )
    libraries = [
        installed(tmp_path, "Some_Thing", "License-Expression: MIT", version="2.0+cpu"),
        installed(tmp_path, "theramap", version="1.2.3"),
    ]
    base = Base(debian=(DebianPackage("libc6", "1:2.36-9+deb12u14", "amd64"),))
    bill = bill_of_materials(digests, libraries, base, 1_700_000_000)
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert bill["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert bill["metadata"]["component"]["version"] == "1.2.3"
    library, model, package = bill["components"]
    assert library["purl"] == "pkg:pypi/some-thing@2.0%2Bcpu"
    assert library["licenses"] == [{"expression": "MIT"}]
    assert library["hashes"] == [{"alg": "SHA-256", "content": "3" * 64}]
    assert model["type"] == "machine-learning-model"
    assert [file["hashes"][0]["content"] for file in model["components"]] == ["1" * 64, "2" * 64]
    assert package["purl"] == "pkg:deb/debian/libc6@1%3A2.36-9%2Bdeb12u14?arch=amd64"
    assert uuid.UUID(bill["serialNumber"].removeprefix("urn:uuid:")).version == 5
    assert json.dumps(bill_of_materials(digests, libraries, base, 1_700_000_000)) == json.dumps(bill)
    other = bill_of_materials(digests, libraries[:1], Base(), 1_700_000_000)
    assert other["serialNumber"] != bill["serialNumber"]


def test_installed_debian_packages_are_read_from_dpkg(tmp_path: Path) -> None:
    status = tmp_path / "status"
    blocks = [
        "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:1.2\nDescription: x",
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1",
        "Package: apt\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.6",
    ]
    status.write_text("\n\n".join(blocks) + "\n", "utf-8")
    assert [each.name for each in debian_packages(status)] == ["apt", "zlib1g"]
    assert debian_packages(tmp_path / "none") == ()


def test_the_bill_names_a_python_that_is_not_debians_and_what_came_with_it(tmp_path: Path) -> None:
    digests = Digests(theramap="1.2.3", variant="cpu", wheels={"setuptools==80.0": "3" * 64})
    own = installed(tmp_path / "own", "setuptools", version="80.0")
    others = [installed(tmp_path / "base", "pip", version="24.0")]
    others += [installed(tmp_path / "base", "setuptools", version="80.0")]
    base = Base(cpython="3.11.9", distributions=tuple(others))
    components = bill_of_materials(digests, [own], base, 0)["components"]
    assert [each["bom-ref"] for each in components] == [
        "pkg:pypi/setuptools@80.0",
        "pkg:generic/python@3.11.9",
        "base/pkg:pypi/pip@24.0",
        "base/pkg:pypi/setuptools@80.0",
    ]
    assert components[1]["cpe"] == "cpe:2.3:a:python:python:3.11.9:*:*:*:*:*:*:*"
    assert ["hashes" in each for each in components] == [True, False, False, False]


def test_a_program_is_debians_when_dpkg_lists_it(tmp_path: Path) -> None:
    (tmp_path / "python3.11-minimal.list").write_text("/.\n/usr\n/usr/bin/python3.11\n", "utf-8")
    assert is_debians(Path("/usr/bin/python3.11"), tmp_path)
    assert not is_debians(Path("/usr/bin/python3"), tmp_path)
    assert not is_debians(Path("/usr/local/bin/python3.11"), tmp_path)
    assert not is_debians(Path("/usr/bin/python3.11"), tmp_path / "none")


def test_the_base_is_the_interpreters_own_and_not_the_environments() -> None:
    base = read_base()
    assert base.cpython in (None, platform.python_version())
    own = Path(sys.base_prefix).resolve()
    places = [Path(str(each.locate_file(""))).resolve() for each in base.distributions]
    assert all(place.is_relative_to(own) for place in places)
    assert "theramap" not in {each.metadata["Name"] for each in base.distributions}
