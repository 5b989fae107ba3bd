"""Published rules as data: what they ask for, when they hold, who says so; and what decides by them."""

from operators.response.rules.decide import decide
from operators.response.rules.errors import RuleRefusal
from operators.response.rules.read import load_rules
from operators.response.rules.types import Kind, Rule, Scope

__all__ = ["Kind", "Rule", "RuleRefusal", "Scope", "decide", "load_rules"]
