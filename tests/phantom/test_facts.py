"""Facts of the archive: shares that fit together."""

import pytest

from lhdlib.phantom import facts


def test_shares_are_shares_and_levels_are_lumbar():
    tables = (facts.ABNORMAL, facts.KINDS, facts.PRESSED, facts.AGREEMENT, facts.KAPPA, facts.LEVEL_AUC)
    assert all(0 < share < 1 for table in tables for share in table.values())
    assert list(facts.ABNORMAL) == ["L5-S1", "L4-L5", "L3-L4", "L2-L3", "L1-L2"]
    assert set(facts.LOWEST) < set(facts.ABNORMAL) and set(facts.AGREEMENT) == set(facts.KAPPA)


def test_the_second_reading_s_rates_give_its_agreement():
    """On the three lowest discs: what it finds of the abnormal, and leaves of the normal."""
    abnormal = sum(facts.ABNORMAL[level] for level in facts.LOWEST) / len(facts.LOWEST)
    agreement = abnormal * facts.SECOND_SENSITIVITY + (1 - abnormal) * (1 - facts.SECOND_FALSE_POSITIVES)
    assert agreement == pytest.approx(facts.AGREEMENT["three lowest"], abs=0.01)
