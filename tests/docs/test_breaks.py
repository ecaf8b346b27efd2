"""Where a name in running text may go on in the next line."""

import runpy
from pathlib import Path

import pytest

HOOK = Path(__file__).resolve().parents[2] / "docs" / "hooks" / "breaks.py"


@pytest.mark.docs
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<code>num_draws</code>", "<code>num_draws</code>"),
        ("<code>bk.objectives.ImportanceWeightedELBO</code>", "<code>bk.objectives.|ImportanceWeightedELBO</code>"),
        ("<code>bk.importance_resample(post)</code>", "<code>bk.importance_|resample(|post)</code>"),
        ("<code>eight_schools_noncentred.py</code>", "<code>eight_schools_|noncentred.|py</code>"),
        ("<pre><code>bk.objectives.ImportanceWeightedELBO(5)</code></pre>",) * 2,
        ("<code><a id='a.b'>bayeskit.infer</a> or not</code>", "<code><a id='a.b'>bayeskit.|infer</a> or not</code>"),
    ],
)  # fmt: skip
def test_names_break_between_words_alone(before, after):
    assert runpy.run_path(str(HOOK))["on_page_content"](before) == after.replace("|", "<wbr>")
