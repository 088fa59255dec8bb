import math

import pytest

from reports.judging.slopes import slope, upper_half


def test_a_slope_is_fitted_in_each_process_and_its_interval_is_over_them():
    # One process grows as T, the other as T^0.5, from whatever each takes at one token.
    times = {size: (3.0 * size, 50.0 * math.sqrt(size)) for size in (1, 4, 16, 64)}
    found = slope(times)
    # The mean of 1 and 0.5; their standard deviation is 0.35355, and t of one degree of freedom 12.7062:
    # 12.7062 · 0.35355 / √2 = 3.17655
    assert found.estimate == pytest.approx(0.75)
    assert (found.low, found.high) == pytest.approx((0.75 - 3.17655, 0.75 + 3.17655), abs=1e-4)


def test_points_beside_the_line_are_fitted_by_least_squares():
    # In powers of e: x 0, 1, 2 and y 0, 0, 3: the slope is ((−1)(−1) + 0 + 1 · 2) / 2 = 1.5. Sizes are whole: 2 for e.
    times = {1: (1.0,), 2: (1.0,), 4: (8.0,)}
    assert slope(times).estimate == pytest.approx(1.5)
    assert slope(times).low is None


@pytest.mark.parametrize(
    ("sizes", "upper"),
    [
        ([4**power for power in range(9)], [256, 1024, 4096, 16384, 65536]),
        ([8, 16, 32, 64, 128, 256, 512], [64, 128, 256, 512]),
        ([1, 2, 4096], [2, 4096]),
        ([1, 3000, 4096], [3000, 4096]),
        ([1, 10], [1, 10]),
    ],
)
def test_the_upper_half_is_that_of_the_logarithms(sizes, upper):
    assert list(upper_half(dict.fromkeys(sizes, (1.0,)))) == upper


def test_what_has_no_slope_is_refused():
    with pytest.raises(ValueError, match="1 sizes, expected at least 2"):
        slope({4: (1.0, 2.0)})
    with pytest.raises(ValueError, match="shorter"):
        slope({4: (1.0, 2.0), 8: (1.0,)})
