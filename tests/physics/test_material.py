"""Scattering and energy loss against published numbers and an independent integration."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from flashdet.kernels.material import (
    momentum_after,
    scattering_variance,
    shell_factor,
    stopping_power,
    straggling_variance,
)

MUON, PION, PROTON, ALPHA = 0.1056583755, 0.13957039, 0.93827208943, 3.7273794118


def test_highland_number_by_hand():
    # 1 GeV/c, beta = 1, 1 % X0: 13.6e-3 * 0.1 * (1 + 0.038 ln 0.01) = 1.122 mrad
    assert math.sqrt(scattering_variance(0.01, 1.0, 1.0, 1.0)) == pytest.approx(1.1220e-3, rel=1e-4)
    # without the logarithm it would be 1.36 mrad: 21 % more
    assert math.sqrt(scattering_variance(0.01, 1.0, 1.0, 1.0)) < 0.83 * 1.36e-3
    assert scattering_variance(0.0, 1.0, 1.0, 1.0) == 0.0


def test_highland_depends_on_thickness_times_charge_squared_over_beta_squared():
    for z, beta in ((2.0, 1.0), (1.0, 0.5), (2.0, 0.3)):
        # same momentum: x/X0 z^2/beta^2 is the only other variable
        expected = scattering_variance(0.01 * z * z / beta**2, 0.7, 1.0, 1.0)
        assert scattering_variance(0.01, 0.7, beta, z) == pytest.approx(expected, rel=1e-12)


def test_minimum_ionisation_of_silicon():
    # PDG atomic and nuclear properties: 1.664 MeV cm2/g
    values = [stopping_power(bg, MUON, 1.0) * 1e3 for bg in np.linspace(2.0, 6.0, 200)]
    assert min(values) == pytest.approx(1.664, rel=0.003)


def test_energy_loss_scales_with_charge_squared_at_equal_velocity():
    assert stopping_power(0.5, ALPHA, 2.0) / stopping_power(0.5, PROTON, 1.0) == pytest.approx(4.0, rel=5e-3)


@pytest.mark.parametrize(
    ("mass", "charge", "p"), [(PION, 1.0, 0.15), (PION, 1.0, 10.0), (PROTON, 1.0, 0.5), (ALPHA, 2.0, 2.5)]
)
def test_few_steps_follow_the_exact_loss(mass, charge, p):
    thickness = 0.25

    def slope(_, energy):
        return [-stopping_power(math.sqrt(energy[0] ** 2 - mass**2) / mass, mass, charge)]

    start = math.sqrt(p * p + mass * mass)
    exact = solve_ivp(slope, (0.0, thickness), [start], rtol=1e-10, atol=1e-14).y[0, -1]
    after = momentum_after(p, mass, charge, thickness)
    loss = start - math.sqrt(after**2 + mass**2)
    assert loss == pytest.approx(start - exact, rel=1e-3)


def test_slow_particles_stop():
    assert momentum_after(0.03, PION, 1.0, 0.25) == 0.0
    assert momentum_after(0.3, PROTON, 1.0, 5.0) == 0.0
    assert momentum_after(0.03, PION, 1.0, 0.0) == 0.03


def test_straggling_is_landau_for_thin_and_bohr_for_slow_and_thick():
    # 1 GeV pion, 1 % X0 of silicon: xi = 17 keV, FWHM 4 xi
    landau = math.sqrt(straggling_variance(1.0, PION, 1.0, 0.2182))
    xi = 0.5 * 0.307075e-3 * 0.49848 * 0.2182 / (1.0 / (1.0 + PION**2))
    assert landau == pytest.approx(4 * xi / 2.3548, rel=1e-3)
    # a slow alpha cannot give more than T_max to an electron: the Landau width would be too large
    p = 0.15 * ALPHA
    assert math.sqrt(straggling_variance(p, ALPHA, 2.0, 0.2182)) < 0.5 * 4 * xi * 4 / 2.3548 / 0.15**2


def test_path_in_a_cylindrical_shell():
    # normal incidence, oblique incidence on a thin shell, tangent: sqrt(2 d r + d^2) by Pythagoras
    assert shell_factor(1.0, 0.01) == pytest.approx(1.0)
    assert shell_factor(0.5, 1e-6) == pytest.approx(2.0, rel=1e-5)
    assert shell_factor(0.0, 0.01) == pytest.approx(math.sqrt(2 * 0.01 + 0.01**2) / 0.01)
