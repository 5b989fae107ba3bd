"""The documents in the image: laid out as in the repository, and nothing that a site keeps beside them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from app.packaging.checkout import NEEDED, Checkout
from app.packaging.documents import FILES, copy_documents, documents
from app.packaging.errors import PackagingError

LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
NOT_IN_THE_IMAGE = ("models/", "operators/")


def test_they_are_laid_out_as_in_the_repository(context: Path) -> None:
    docs = context / "docs"
    assert sorted(path.name for path in docs.iterdir()) == sorted([*FILES, "docs", "map"])
    assert sorted(path.name for path in (docs / "map").iterdir()) == ["compose", "helm", "recipes"]
    for name in ("docs/container.md", "docs/images/ohif.png", "map/compose/compose.yaml"):
        assert (docs / name).is_file(), name
    assert (docs / "map/helm/theramap/templates/secret.yaml").is_file()
    programs = {path.name for path in docs.rglob("*") if path.is_file() and os.access(path, os.X_OK)}
    assert {path.stat().st_mode & 0o777 for path in docs.rglob("*") if path.is_file()} == {0o644, 0o755}
    assert programs == {"register.sh"}


def test_every_link_among_them_leads_to_a_document(context: Path) -> None:
    docs = context / "docs"
    seen = 0
    for path in docs.rglob("*.md"):
        for link in LINK.findall(path.read_text("utf-8")):
            target = Path(os.path.normpath(path.parent / link))
            if not target.relative_to(docs).as_posix().startswith(NOT_IN_THE_IMAGE):
                assert target.exists(), f"{path.relative_to(docs)} links to {link}"
                seen += 1
    assert seen > 50


@pytest.fixture
def site(tmp_path: Path) -> Checkout:
    """A checkout in which a site keeps its own files."""
    names = ["docs/a.md", "map/compose/compose.yaml", "map/compose/secrets/password", "map/compose/.env"]
    names += ["map/compose/backup/dump", "map/helm/site-values.yaml"]
    for name in (*FILES, *NEEDED, *names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, "utf-8")
    (tmp_path / "docs" / "link.md").symlink_to("/etc/passwd")
    return Checkout(tmp_path)


def test_a_sites_secrets_are_none_of_them(site: Checkout) -> None:
    there = (*FILES, "docs/a.md", "map/compose/compose.yaml", "map/helm/site-values.yaml")
    assert documents(site) == tuple(sorted(there))


def test_in_a_repository_only_what_git_knows_is_one(site: Checkout, tmp_path: Path) -> None:
    known = ["docs/a.md", "docs/link.md", "map/compose/compose.yaml", "map/compose/secrets/password"]
    for words in (["init", "-q"], ["add", *known]):
        subprocess.run(["git", *words], cwd=site.root, check=True)
    there = tuple(sorted((*FILES, "docs/a.md", "map/compose/compose.yaml")))
    assert documents(site) == there
    copy_documents(site, tmp_path / "copy")
    copied = {path for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path / "copy").as_posix() for path in copied} == set(there)


def test_a_repository_that_git_does_not_read_is_refused(site: Checkout) -> None:
    (site.root / ".git").mkdir()
    with pytest.raises(PackagingError, match="git ls-files: fatal: not a git repository"):
        documents(site)
