"""Numbers in texts: read where there is one reading."""

import numpy as np
import pytest

from lhdlib.data.dicom_file.values import one_reading


@pytest.mark.parametrize(
    "text, count, expected",
    [
        ("4,0", 1, [4]),
        ("4.0 mm", 1, [4]),
        ("98ms", 1, [98]),
        (" -3,5e1\0", 1, [-35]),
        ("0,6875\\0,6875", 2, [0.6875, 0.6875]),
        ("0.6875,0.6875", 2, [0.6875, 0.6875]),
        ("0.6875 0.6875", 2, [0.6875, 0.6875]),
        ("0,6875 0,6875", 2, [0.6875, 0.6875]),
        ("0,6875; 0,6875", 2, [0.6875, 0.6875]),
        ("[0.6875, 0.6875]", 2, [0.6875, 0.6875]),
        ("['-110.0', '7', '3.5']", 3, [-110, 7, 3.5]),
        ('("1", "2")', 2, [1, 2]),
        ("1,2", 2, [1, 2]),
        ("-1,5\\2\\3", 3, [-1.5, 2, 3]),
        (".5\\+.5", 2, [0.5, 0.5]),
        ("", 1, None),
        ("N/A", 1, None),
        ("1,500", 1, None),
        ("12,500,000", 1, None),
        ("1.234,5", 1, None),
        ("1\\2", 1, None),
        ("1\\2\\3", 2, None),
        ("0x10", 1, None),
        ("1_0", 1, None),
        ("nan", 1, None),
        ("inf", 1, None),
        ("9e999", 1, None),
        ("1,2,3,4", 2, None),
        ("\\", 2, None),
    ],
)
def test_one_reading_or_none(text, count, expected):
    assert one_reading(text, count) == expected


def test_numbers_come_back_however_they_were_written():
    rng = np.random.default_rng(5)
    for _ in range(500):
        numbers = rng.uniform(-200, 200, rng.integers(2, 7)).round(rng.integers(1, 5)).tolist()
        separator, decimal = [("\\", "."), ("\\", ","), ("; ", ","), (", ", "."), (" ", ","), (" ", ".")][
            rng.integers(6)
        ]
        before, after = ["", "[", "("][(place := rng.integers(3))], ["", "]", ")"][place]
        text = before + separator.join(str(number).replace(".", decimal) for number in numbers) + after
        assert one_reading(text, len(numbers)) == numbers, text
