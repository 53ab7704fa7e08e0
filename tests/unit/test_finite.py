"""The fused test for finite numbers against NumPy's, on the numbers where they could differ."""

import math

import numpy as np
import pytest

from flashdet.kernels import finite

NUMBERS = {
    "largest": np.finfo(np.float64).max,
    "smallest": 5e-324,
    "negative zero": -0.0,
    "infinity": math.inf,
    "negative infinity": -math.inf,
    "NaN": math.nan,
    "negative NaN": float(np.array(0xFFF8_0000_0000_0000, np.uint64).view(np.float64)),
    "signalling NaN": float(np.array(0x7FF0_0000_0000_0001, np.uint64).view(np.float64)),
}


def arrays(place, number, length=37):
    result = [np.linspace(-1.0, 1.0, length + i) for i in range(finite.N_ARRAYS)]
    result[place][-1 - place % 5] = number
    for values in result:
        values.setflags(write=False)
    return tuple(result)


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("place", [0, 7, finite.N_ARRAYS - 1])
def test_the_array_with_the_number_is_told(number, place):
    some = arrays(place, number)
    strict = np.full(finite.N_ARRAYS, finite.FINITE, np.uint64)
    assert finite.odd_arrays(some, strict) == (0 if math.isfinite(number) else 1 << place)
    strict[place] = finite.FINITE_OR_NAN
    assert finite.odd_arrays(some, strict) == (1 << place if math.isinf(number) else 0)


def test_several_arrays_and_empty_ones():
    nothing, bad = np.empty(0), np.array([1.0, math.inf])
    for values in (nothing, bad):
        values.setflags(write=False)
    some = (bad, nothing) * (finite.N_ARRAYS // 2)
    masks = np.full(finite.N_ARRAYS, finite.FINITE, np.uint64)
    assert finite.odd_arrays(some, masks) == sum(1 << i for i in range(0, finite.N_ARRAYS, 2))
