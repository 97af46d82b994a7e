import pytest

from rtl.spec.params import LFSR_TAPS, RLUParams


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"states": 0}, "states must be a whole number in 1..256, not 0"),
        ({"states": 257}, "states must be a whole number in 1..256, not 257"),
        ({"actions": 1}, "actions must be a whole number in 2..16, not 1"),
        ({"actions": 17}, "actions must be a whole number in 2..16, not 17"),
        ({"q_frac": 15}, "q_frac must be a whole number in 2..14, not 15"),
        ({"q_width": 8, "q_frac": 7}, "q_frac must be a whole number in 2..6, not 7"),
        ({"coef_frac": 16}, "coef_frac must be a whole number in 4..15, not 16"),
        ({"lfsr_width": 12}, r"lfsr_width must be one of \[8, 16, 32\], not 12"),
        ({"states": 2, "action_counts": (3,)}, "one entry for each of the 2 states, not 1"),
        ({"states": 1, "actions": 4, "action_counts": (5,)}, r"action_counts\[0\] must be a whole number in 1..4"),
        ({"states": True}, "states must be a whole number"),
    ],
)
def test_rejects_values_out_of_range(fields, said):
    with pytest.raises(ValueError, match=said):
        RLUParams(**fields)


def test_json_brings_back_the_same_parameters():
    params = RLUParams(states=3, actions=5, action_counts=[1, 5, 2], lfsr_width=8)
    assert RLUParams.from_json(params.to_json()) == params
    assert params.counts == (1, 5, 2)


def test_digest_tells_different_hardware_apart():
    assert RLUParams().digest == RLUParams().digest
    assert RLUParams().digest != RLUParams(lfsr_width=8).digest


def test_formats_hold_what_the_contract_promises():
    params = RLUParams()
    assert params.coef_one == 1 << 15 and params.coef_width == 16
    assert params.q_min / 2**params.q_frac == -2.0
    assert params.q_max / 2**params.q_frac == 2.0 - 2.0**-14


@pytest.mark.parametrize("width", LFSR_TAPS)
def test_lfsr_polynomial_is_primitive(width):
    """The step's matrix has order 2**width - 1: that power is the identity, and none with a prime factor less."""
    primes = {8: (3, 5, 17), 16: (3, 5, 17, 257), 32: (3, 5, 17, 257, 65537)}[width]
    period = 2**width - 1
    taps = sum(1 << (tap - 1) for tap in LFSR_TAPS[width])

    def apply(columns, vector):
        result = 0
        for bit in range(width):
            if vector >> bit & 1:
                result ^= columns[bit]
        return result

    step = [((1 << bit) << 1 & period) | ((1 << bit & taps).bit_count() & 1) for bit in range(width)]
    identity = [1 << bit for bit in range(width)]

    def power(exponent):
        result, base = identity, step
        while exponent:
            if exponent & 1:
                result = [apply(base, column) for column in result]
            base = [apply(base, column) for column in base]
            exponent >>= 1
        return result

    assert power(period) == identity
    assert all(power(period // prime) != identity for prime in primes)
