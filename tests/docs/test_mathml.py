"""Long formulas in running text are several, between which a line may end."""

import html
import re
import runpy
from pathlib import Path

import pytest

HOOK = Path(__file__).resolve().parents[2] / "docs" / "hooks" / "mathml.py"


@pytest.mark.docs
@pytest.mark.parametrize(
    ("formula", "pieces"),
    [
        ("a + b = c", ["a+b=c"]),
        (r"dQ = -\theta\, dK_{12} + \sqrt{K_{11} + K_{22}}", ["dQ", "=−θdK12", "+K11+K22"]),
        (r"\min(1, p(y \mid z)) \le \alpha_1 + \beta_2", ["min(1,", "p(y∣z))", "≤α1", "+β2"]),
    ],
)
def test_long_formulas_are_several(formula, pieces):
    page = runpy.run_path(str(HOOK))["on_page_content"](rf'<span class="arithmatex">\({formula}\)</span>')
    found = re.findall("<math.*?</math>", page)
    assert [html.unescape(re.sub("<[^>]*>", "", each)) for each in found] == pieces
    assert page == "<wbr>".join(found)
