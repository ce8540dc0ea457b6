"""Which claims of the paper hold in a run: a table computed from the result files of notebooks 05, 06 and 08.

A claim says where one or more quantities lie: a difference above 0, for example. For each quantity the run has a value
with a 95 % interval (patients resampled). The rule is the same for all:

- a quantity *agrees* when its whole interval lies where the claim says, *disagrees* when none of it does;
- the claim **holds** when all its quantities agree, **does not hold** when one disagrees, and otherwise, or when a
  quantity was not measured, **cannot be decided on this data**.

What the paper says may be true and mean less than it seems: *readings of this companion*, which are not the paper's,
stand below its claims and are counted apart.

The limits that the paper does not give are the constants below. An interval is about other patients and other seeds of
fine-tuning; another pre-training could still turn a narrow verdict. Heatmaps depend on it most: their values in each
pre-training, from the least to the greatest, are a quantity of their own.

Result files, all JSON: ``05/comparisons.json`` and ``06/comparisons.json`` (`evaluate.compare`, `evaluate.contrast`),
``08/evidence.json`` (``balance``, ``controls``, ``added_to_level``), ``08/localisation.json`` (`localise.measure`) and
``08/pretrainings.json`` (`localise.between_pretrainings`), these two only where lesions have truth masks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lhdlib import files, paper
from lhdlib.figures import publish
from lhdlib.figures.words import Interval, difference_text, interval_text, signed
from lhdlib.profile import setting_key

NAME = "claims"  # of the saved table; where it is saved, the word itself tells `lhdlib explain` the maker
HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be decided on this data"
OURS = "Not the paper's: "  # before a reading of this companion

SIMILAR = 0.05  #: how far "similar performance" may lie below, and "nearly identical" on either side
BALANCED = 0.1  #: how far sensitivity and specificity may lie apart
CHANCE = 0.5  #: of the side test
CLEARLY = 0.2  #: `localise.MARGIN`, without what that module takes seconds to import

REGULARIZATION = 'section "Effect of regularization level on feature extractor performance", Table 3'
LABELS = 'section "Effect of the number of labels", Fig. 9'
HEATMAPS = 'section "Classifier heatmap visualization experiment", Fig. 10'
EACH = "patients resampled; also in each pre-training [least, greatest]"
PAIRED = "difference on the same discs, patients resampled; p: McNemar (ACC), DeLong (AUC)"
BOTH = ("ACC", "AUC")


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, its place, and what would show it: quantities and the open range that they must lie in."""

    text: str
    place: str
    published: str
    test: str
    source: tuple[str, ...]  #: a file of `FILES`, then the keys inside
    quantity: str = ""  #: name of the interval that lies there; empty: `BOTH` lie there
    above: float = 0.0
    below: float = inf
    share: bool = False  #: the quantity is a share, not a difference: it is written without a sign
    ours: bool = False  #: a reading of this companion, not a claim of the paper
    each: str = ""  #: key of ``08/pretrainings``: all of this range must lie there, too


def judge(quantities: Sequence[Interval], above: float, *, below: float = inf) -> str:
    """Verdict (see the module's text) on quantities that a claim puts between `above` and `below`."""
    agree = [above < q["low"] and q["high"] < below for q in quantities]
    disagree = [q["high"] <= above or below <= q["low"] for q in quantities]
    if any(disagree):
        return FAILS
    return HOLDS if agree and all(agree) else OPEN


def _published(setting: tuple[float, float], *names: str) -> str:
    """The paper's differences between the setting that it chose and another, in some metrics or in `BOTH`."""
    chosen, other = paper.TABLE3[paper.CHOSEN], paper.TABLE3[setting]
    return ", ".join(f"{name} {signed(chosen[name] - other[name], form='.4f')}" for name in names or BOTH)


NONE, QUARTER, HALF = (0.0, 0.0), (1e-4, 0.25), (1e-4, 0.5)  # settings of Table 3
FEW, ALL = paper.LABEL_COUNTS[0], paper.LABEL_COUNTS[-1]
CLAIMS = (
    Claim(
        f"A moderate L2 term helps: w = {paper.CHOSEN[0]:g} is above w = {NONE[0]:g}",
        REGULARIZATION,
        _published(NONE),
        f"{PAIRED}; must lie above 0",
        ("05/comparisons", setting_key(*NONE)),
    ),
    Claim(
        f"Dropout {HALF[1]:g} hurts: dr = {paper.CHOSEN[1]:g} is above dr = {HALF[1]:g}",
        REGULARIZATION,
        _published(HALF),
        f"{PAIRED}; must lie above 0",
        ("05/comparisons", setting_key(*HALF)),
    ),
    Claim(
        f"Dropout {QUARTER[1]:g} lowers the AUC: dr = {paper.CHOSEN[1]:g} is above dr = {QUARTER[1]:g}",
        REGULARIZATION,
        f'"decreased markedly", {_published(QUARTER, "AUC")}',
        f"{PAIRED}; must lie above 0",
        ("05/comparisons", setting_key(*QUARTER), "AUC"),
        "AUC",
    ),
    Claim(
        f"Dropout {QUARTER[1]:g} leaves the accuracy nearly as it is",
        REGULARIZATION,
        f'"nearly identical", {_published(QUARTER, "ACC")}',
        f"{PAIRED}; must lie within ±{SIMILAR:g}",
        ("05/comparisons", setting_key(*QUARTER), "ACC"),
        "ACC",
        -SIMILAR,
        SIMILAR,
    ),
    Claim(
        "Accuracy and AUC rise with the number of labels",
        LABELS,
        "rise (drawn, no numbers)",
        "gain per doubling of the labels (regression, same discs, patients resampled; p: DeLong); must lie above 0",
        ("06/comparisons", "doubling"),
    ),
    Claim(
        f"A third of the labels ({FEW:,} of {ALL:,}) matches the supervised baseline with all",
        LABELS,
        '"similar performance" (drawn, no numbers)',
        f"{PAIRED}; must lie above {signed(-SIMILAR)}",
        ("06/comparisons", "third"),
        above=-SIMILAR,
    ),
    Claim(
        "With all labels the semi-supervised classifier beats the supervised baseline",
        LABELS,
        '"much better" (drawn, no numbers)',
        f"{PAIRED}; must lie above 0",
        ("06/comparisons", "full"),
    ),
    Claim(
        "Contrastive features beat an autoencoder's",
        'section "Contrast self-supervised learning"',
        "argued, not measured",
        f"{PAIRED}; the autoencoder's features standardised; must lie above 0",
        ("08/evidence", "controls", "autoencoder", "comparison"),
    ),
    Claim(
        "Heatmaps show where the disc is abnormal",
        HEATMAPS,
        "three discs shown, not measured",
        f"pointing game on lesion masks minus that of random maps, {EACH}; must lie above {CLEARLY:g}",
        ("08/localisation", "differences", "pointing", "random"),
        "pointing",
        CLEARLY,
        each="random",
    ),
    Claim(
        "The cross-section with the worse changes is given more heat (the paper may mean a place within a section)",
        HEATMAPS,
        "three discs shown, not measured",
        f"rank correlation of slice weight and lesion area minus that of random weights, {EACH}; must lie above 0",
        ("08/localisation", "differences", "slice_rank", "random"),
        "slice rank",
        each="slice rank",
    ),
    Claim(
        "Sensitivity and specificity are balanced",
        "abstract, Table 3",
        "{TPR:.4f} and {TNR:.4f}".format(**paper.TABLE3[paper.CHOSEN]),
        f"sensitivity minus specificity, patients resampled; must lie within ±{BALANCED:g}",
        ("08/evidence", "balance"),
        "difference",
        -BALANCED,
        BALANCED,
        ours=True,
    ),
    Claim(
        "Heatmaps show where this disc is abnormal, not where discs are",
        HEATMAPS,
        "–",
        f"pointing game minus that of a fixed map (mean of normal discs' maps), {EACH}; must lie above 0",
        ("08/localisation", "differences", "pointing", "fixed"),
        "pointing",
        ours=True,
        each="fixed",
    ),
    Claim(
        "Heatmaps show where the disc is abnormal also as the other drawing places the cells",
        HEATMAPS,
        "–",
        "pointing game minus that of random maps, both aligned where this run draws as published, and the reverse, "
        f"{EACH}; must lie above {CLEARLY:g}",
        ("08/localisation", "differences", "pointing", "other_random"),
        "pointing",
        CLEARLY,
        ours=True,
        each="other",
    ),
    Claim(
        "Heatmaps show on which side the disc is abnormal",
        HEATMAPS,
        "–",
        "share of the slices with a one-sided lesion whose mask holds more heat than its mirror image (chance 0.5), "
        f"{EACH}; must lie above {CHANCE + CLEARLY:g}",
        ("08/localisation", "side", "paper"),
        "side",
        CHANCE + CLEARLY,
        share=True,
        ours=True,
        each="side",
    ),
    Claim(
        "Slice weights follow this disc's lesion, not the place of the slice",
        HEATMAPS,
        "–",
        f"rank correlation minus that of fixed weights (mean of normal discs'), {EACH}; must lie above 0",
        ("08/localisation", "differences", "slice_rank", "fixed"),
        "slice rank",
        ours=True,
        each="fixed rank",
    ),
    Claim(
        "The features add to the level: classifier of both above the level alone",
        'section "Model evaluation methods"',
        "–",
        f"{PAIRED}; level and features standardised; must lie above 0",
        ("08/evidence", "added_to_level", "AUC"),
        "AUC",
        ours=True,
    ),
    *(
        Claim(
            f"With {labels} labels {text} the same network from scratch with the same labels",
            LABELS,
            "–",
            f"{PAIRED}; must lie above 0",
            ("06/comparisons", f"same_{key}_{way}_scratch"),
            ours=True,
        )
        for labels, key in (("100", "100"), ("all", "all"))
        for way, text in (
            ("frozen", "the frozen extractor beats"),
            ("tuned", "the pre-trained network, fine-tuned whole, beats"),
        )
    ),
)
FILES = ("05/comparisons", "06/comparisons", "08/evidence", "08/localisation", "08/pretrainings")
MAY_LACK = ("08/localisation", "08/pretrainings")  # real lesions have no truth masks


def _measured(claim: Claim, results: Mapping[str, Any]) -> dict[str, Interval]:
    """A claim's quantities by name; none where its file may lack and does, or where its comparison is empty."""
    file, *keys = claim.source
    found = results.get(file) if file in MAY_LACK else results[file]
    for key in keys:
        found = found[key] if found else {}
    if not found:
        return {}
    ranges = {"in each pre-training": results["08/pretrainings"][claim.each]} if claim.each else {}
    return {claim.quantity: found} | ranges if claim.quantity else {name: found[name] for name in BOTH}


def claims_table(results: Mapping[str, Any]) -> pd.DataFrame:
    """Every claim with the paper's number, this run's, the test and the verdict.

    Parameters
    ----------
    results : mapping of name in `FILES` -> the file's content
        Those in `MAY_LACK` may be absent.

    Returns
    -------
    pd.DataFrame
        ``claim``, ``place``, ``paper``, ``this run: value [95 % interval]``, ``test``, ``verdict``; the paper's claims
        first, then this companion's readings, which say so.
    """
    rows = []
    for claim in CLAIMS:
        measured = _measured(claim, results)
        text = interval_text if claim.share else difference_text
        ours = "; ".join(f"{name} {text(quantity)}" for name, quantity in measured.items())
        verdict = judge(list(measured.values()), claim.above, below=claim.below)
        said = f"{OURS}{claim.text[0].lower()}{claim.text[1:]}" if claim.ours else claim.text
        rows.append((said, claim.place, claim.published, ours or "not measured", claim.test, verdict))
    return pd.DataFrame(rows, columns=["claim", "place", "paper", "this run: value [95 % interval]", "test", "verdict"])


def save_claims(results_dir: Path, figures_dir: Path) -> Path:
    """Write the claims table of a complete run; the path is that of its Markdown.

    Raises
    ------
    UserError
        When a result file or ``stamp.json`` cannot be read.
    """
    stamp = files.read_json(results_dir / "stamp.json")
    paths = {name: results_dir / f"{name}.json" for name in FILES}
    results = {n: files.read_json(path) for n, path in paths.items() if n not in MAY_LACK or path.is_file()}
    table = claims_table(results)
    ours = np.array([claim.ours for claim in CLAIMS])
    claimed, read = (_counted(table.verdict[rows]) for rows in (~ours, ours))
    caption = (
        f"The paper's claims, judged on this run ({claimed}), and readings that are not the paper's ({read}). A claim "
        "holds when the whole 95 % interval of each of its quantities lies where the claim says, does not hold when "
        "one interval lies wholly outside, and cannot be decided otherwise."
    )
    details = (
        "The intervals do not know what another pre-training would have given. Where heatmaps are judged, the values "
        "of all pre-trainings, from the least to the greatest, are a further quantity."
    )
    whole = {key: value for key, value in stamp.items() if key != "parts"}
    return publish.save_table(table, "claims", figures_dir, whole, caption, details=details)


def columns(table: pd.DataFrame) -> pd.DataFrame:
    """The claims of `claims_table`, one line each, in a column per verdict; this companion's readings below."""
    ours = table.claim.str.startswith(OURS)
    rows = []
    for whose, chosen in (("the paper says", ~ours), ("this companion asks", ours)):
        row = {"": whose}
        for verdict, name in ((HOLDS, "holds"), (FAILS, "does not hold"), (OPEN, "undecided")):
            texts = table.claim[chosen & (table.verdict == verdict)].str.removeprefix(OURS)
            row[name] = "<br>".join(f"• {text[0].upper()}{text[1:]}" for text in texts) or "–"
        rows.append(row)
    return pd.DataFrame(rows)


def sentence(table: pd.DataFrame) -> str:
    """How many of the paper's claims hold."""
    verdicts = table.verdict[~table.claim.str.startswith(OURS)]
    counts = verdicts.value_counts()
    held, failed, open_ = (int(counts.get(verdict, 0)) for verdict in (HOLDS, FAILS, OPEN))
    return (
        f"Of the paper's {len(verdicts)} claims, this data supports {held}, contradicts {failed}, and leaves "
        f"{open_} open."
    )


def _counted(verdicts: pd.Series) -> str:
    counts = verdicts.value_counts()
    return "; ".join(f"{counts.get(verdict, 0)} × {verdict}" for verdict in (HOLDS, FAILS, OPEN))
