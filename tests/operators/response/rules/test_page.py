"""docs/rules.md says what the software does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from operators.response.rules import load_rules
from operators.response.rules.page import WARNINGS, page

PAGE = (Path(__file__).parents[4] / "docs" / "rules.md").read_text(encoding="utf-8")
SECTIONS = {section.split("`", 2)[1]: section for section in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]}


def test_the_page_is_made_from_the_rules() -> None:
    made = page(load_rules())
    assert made == PAGE, "run: python -m operators.response.rules.page > docs/rules.md"


@pytest.mark.parametrize("rule", load_rules(), ids=lambda rule: rule.name)
def test_every_rule_is_there_with_source_and_thresholds(rule) -> None:
    section = SECTIONS[rule.name]
    for words in (rule.title, rule.criterion, rule.citation, rule.verification):
        assert words in section
    for row in rule.table:
        assert f"| {row.category} | {row.meaning} |" in section
    for threshold in rule.thresholds.values():
        assert f"| `{threshold.name}` | {threshold.value:g}" in section


def test_every_warning_of_the_code_is_explained() -> None:
    home = Path(page.__code__.co_filename).parents[1]
    source = "".join((home / name).read_text() for name in ("judge.py", "comparability.py", "companions.py"))
    codes = set(re.findall(r'Note\(\s*"([A-Z_]+)"', source)) | set(re.findall(r'"([A-Z]+S_DIFFER)"', source))
    assert codes == set(WARNINGS)
    for code, when in WARNINGS.items():
        assert f"| `{code}` | {when} |" in PAGE


def test_conditions_are_in_words() -> None:
    progression = "change of the total PSMA volume at least 20 %, and number of new lesions at least 1"
    assert f"| PD | progressive disease | {progression} |" in SECTIONS["recip"]
    assert "| highest SUVpeak at most 2 times SUVmean of the liver |" in SECTIONS["deauville"]
    assert "uptake times within 15 min; SULmean of the liver within 20 %" in SECTIONS["percist"]
