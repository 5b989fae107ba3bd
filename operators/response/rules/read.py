"""Rule files at the door: YAML against schema and itself."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from operators.response.rules.check import check_consistent
from operators.response.rules.errors import RuleRefusal
from operators.response.rules.types import (
    AskedFact,
    Comparison,
    Condition,
    Group,
    Kind,
    Limits,
    MeasuredWith,
    Negation,
    Quantifier,
    Relation,
    Row,
    Rule,
    Scope,
    Statement,
    Threshold,
)
from operators.strict_json import pointer_of

SIZE_LIMIT_BYTES = 2**18
FILE_LIMIT = 200
DEPTH_LIMIT = 16
WHOLE = "the whole file"


def load_rules(folder: Path | None = None) -> tuple[Rule, ...]:
    """Read the published rules.

    Parameters
    ----------
    folder : Path, optional
        Folder of ``*.yaml`` files in place of the ones shipped.

    Returns
    -------
    tuple of Rule
        In the order of kinds (eligibility, score, response), then of names.

    Raises
    ------
    RuleRefusal
        ``RULE_INVALID``: names the file and the place in it.
    """
    home = folder or Path(str(files("operators.response.rules"))) / "data"
    paths = sorted(home.glob("*.yaml"))
    if not paths or len(paths) > FILE_LIMIT:
        fault = f"the folder of rules holds {len(paths)} .yaml files; 1 to {FILE_LIMIT} are expected"
        raise RuleRefusal(home.name, WHOLE, fault)
    rules: dict[str, Rule] = {}
    for path in paths:
        rule = read_rule(path)
        if rule.name in rules:
            raise RuleRefusal(path.name, "/name", f"{rule.name} is the name of another file's rule")
        rules[rule.name] = rule
    order = list(Kind)
    return tuple(sorted(rules.values(), key=lambda rule: (order.index(rule.kind), rule.name)))


def read_rule(path: Path) -> Rule:
    """Read one rule file.

    Raises
    ------
    RuleRefusal
        ``RULE_INVALID``: names the file and the place in it.
    """
    content = _parse(path)
    error = best_match(_validator().iter_errors(content))
    if error is not None:
        raise RuleRefusal(path.name, pointer_of(error) or WHOLE, error.message[:200])
    rule = _rule(content)
    for place, fault in check_consistent(rule):
        raise RuleRefusal(path.name, place, fault)
    return rule


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, which can be made to grow without end, and without keys given twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if len(set(map(str, keys))) < len(keys):
            raise ValueError(f"a key occurs twice in line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


def _parse(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT_BYTES + 1)
        if len(data) > SIZE_LIMIT_BYTES:
            raise RuleRefusal(path.name, WHOLE, f"it is longer than {SIZE_LIMIT_BYTES} bytes")
        content = yaml.load(data.decode("utf-8-sig"), Loader=_PlainLoader)  # noqa: S506  a SafeLoader
        _check_plain(content, DEPTH_LIMIT)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        words = " ".join(str(error).split())[:200]
        raise RuleRefusal(path.name, WHOLE, f"it cannot be read as YAML ({words})") from error
    return content


def _check_plain(content: Any, levels: int) -> None:
    """Nothing but what JSON has, finite, not too deep."""
    if levels == 0:
        raise ValueError(f"its values are nested deeper than {DEPTH_LIMIT} levels")
    if isinstance(content, dict):
        for key, value in content.items():
            if not isinstance(key, str):
                raise ValueError(f"the key {key!r} is not text: put it in quotes")
            _check_plain(value, levels - 1)
    elif isinstance(content, list):
        for value in content:
            _check_plain(value, levels - 1)
    elif isinstance(content, float) and not math.isfinite(content):
        raise ValueError("a number is not finite")
    elif content is not None and not isinstance(content, str | bool | int | float):
        raise ValueError(f"{content!r} is read as a {type(content).__name__}: put it in quotes")


@cache
def _validator() -> Draft202012Validator:
    schema = files("operators.response.rules").joinpath("rule.schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(schema))


def _rule(content: Mapping[str, Any]) -> Rule:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    measured = content.get("measured_with")
    return Rule(
        name=content["name"],
        title=content["title"],
        version=content["version"],
        kind=Kind(content["kind"]),
        scope=Scope(content["scope"]),
        tracers=tuple(content["tracers"]),
        diseases=tuple(content.get("diseases", ())),
        criterion=_flowing(content["criterion"]),
        citation=_flowing(content["citation"]),
        verified=content["verified"],
        verification=_flowing(content["verification"]),
        facts=tuple(
            AskedFact(each["name"], each.get("unit", ""), each["meaning"], each.get("stated", False))
            for each in content["facts"]
        ),
        thresholds={
            name: Threshold(name, float(each["value"]), each["unit"], each["meaning"])
            for name, each in content.get("thresholds", {}).items()
        },
        table=tuple(
            Row(row["category"], row["meaning"], _condition(row["when"]) if "when" in row else None)
            for row in content["table"]
        ),
        needs_companion=content.get("needs_companion", False),
        limits=Limits(**content.get("comparability", {})),
        measured_with=None if measured is None else MeasuredWith(**measured),
        digest=sha256(canonical.encode()).hexdigest(),
    )


def _flowing(text: str) -> str:
    """Text as one paragraph, however its file breaks the lines."""
    return " ".join(text.split())


def _condition(content: Mapping[str, Any]) -> Condition:
    for quantifier in Quantifier:
        if quantifier in content:
            return Group(quantifier, tuple(_condition(each) for each in content[quantifier]))
    if "not" in content:
        return Negation(_condition(content["not"]))
    if "is" in content:
        return Statement(content["fact"], content["is"])
    relation = next(each for each in Relation if each in content)
    return Comparison(content["fact"], relation, content[relation], content.get("times"))
