"""How a run ends: what is written of a complete one, and the three things that are said of it."""

from lhdlib import files
from lhdlib.run import expected, stale
from lhdlib.run.stale import Plan
from lhdlib.run.workspace import ROOT

LAB = ".venv/bin/jupyter lab"  # from the root of the checkout, where everything can be reached


def conclude(plan: Plan, ran: bool) -> None:
    """Write stamp, verdicts, gallery and book of a complete run, and say what came out and where to look."""
    from lhdlib.book import page
    from lhdlib.figures import claims, gallery

    results, figures = plan.space.results, plan.space.figures
    stamp = results / "stamp.json"
    if ran or not stamp.exists():
        files.write_json(stamp, plan.space.stamp() | {"parts": stale.timings(plan)})
    claims.save_claims(results, figures)
    shown = gallery.write_gallery(results, figures, stale.drawn(plan))
    book = page.write_book(results, figures)
    verdicts = files.read_table(figures / f"{claims.NAME}.csv")
    print(f"1. This machine: {expected.verdict(results)}")
    print(f"2. The paper: {claims.sentence(verdicts)}")
    print("3. Where to look:")
    for name, path in (("book", book), ("atlas", figures / "atlas.html"), ("gallery", shown)):
        print(f"   {name:<8} {stale.shown(path)}")
    print(f"   live     {LAB} (in {ROOT}), then notebooks/")
