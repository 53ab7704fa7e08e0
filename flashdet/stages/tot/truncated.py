"""Truncated means of energy losses: tables of what a layer measures, and what to expect of the lowest of n layers.

The tables are computed from the model of :mod:`.straggling` before the first event and depend on the
configuration only, never on the events. The detector that uses them is in :mod:`.stage`.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.stages.tot.straggling import layer_density

Floats = NDArray[np.float64]

#: Nodes of ln(p/m) and of ln(path): neighbours differ by 14 % and by 70 %. Between them tables are linear.
N_SPEED, N_PATH = 72, 8
_SPEED_LOW, _SPEED_HIGH = 0.08, 2000.0
#: Longest path of the tables in units of the thickness: 4 for helium times 10 for inclined tracks.
_LONGEST = 40.0
#: Quantiles: this many nodes in [0, 1], and as many in the last part of it, where the distribution has its tail.
N_QUANTILE, TAIL = 64, 1.0 / 64.0
#: Numbers of one speed and pair of paths in `Sensor.signal`.
CELL = 2 * (1 + 2 * (N_QUANTILE + 1))
#: Bins of ln(energy) for the spread of the gain and the quantiles.
_N_LOG = 2048
#: 1 eV/um in GeV/cm.
_EV_PER_UM = 1e-5


class LossTables(NamedTuple):
    """Everything about a layer that a kernel needs; energies per path length are in GeV/cm for charge 1.

    A charge z on a path x has the distribution of charge 1 on z^2 x, divided by x.
    """

    speed: Floats
    """(2,) ln of the first p/m and nodes per unit of the logarithm."""
    path: Floats
    """(2,) ln of the first path [cm] and nodes per unit of the logarithm."""
    chance: Floats
    """(n_speed, n_path) probability to be above the threshold."""
    quantile: Floats
    """(n_speed, n_path, 2 * n_quantile + 2) quantiles of the measured energy over path: body, then tail."""
    moments: Floats
    """(n_layers + 1, n_speed, n_path, 2) mean and standard deviation of the truncated mean of n layers; 0 for n = 0."""


class Sensor(NamedTuple):
    """The same for kernels: numbers that are looked up together stand together."""

    speed: Floats
    """As in `LossTables`."""
    path: Floats
    """As in `LossTables`."""
    signal: Floats
    """(n_speed * (n_path - 1) * CELL,) for each speed and pair of neighbouring paths pairs of numbers: probabilities to
    be above the threshold, quantiles of the body, quantiles of the tail."""
    moments: Floats
    """((n_layers + 1) * n_path * n_speed * 2,) moments, speed after speed."""


def lay_out(tables: LossTables) -> Sensor:
    """Tables in the order of kernels.

    Parameters
    ----------
    tables : LossTables

    Returns
    -------
    Sensor
    """
    each = np.concatenate([tables.chance[..., np.newaxis], tables.quantile], axis=-1)
    pairs = np.stack([each[:, :-1], each[:, 1:]], axis=-1)
    return Sensor(tables.speed, tables.path, pairs.ravel(), tables.moments.swapaxes(1, 2).ravel())


def n_kept(n_layers: int, kept_fraction: float) -> int:
    """How many of the lowest signals enter the truncated mean: the fraction, rounded up, at least one.

    With one half this is the rule of the ALICE 3 simulation up to eight layers (O2Physics, ``onTheFlyTrackerPid.cxx``:
    1 of 1 or 2, 2 of 3 or 4, 3 of 5 or 6, 4 from 7 on).

    Parameters
    ----------
    n_layers : int
        Signals.
    kept_fraction : float
        In (0, 1].

    Returns
    -------
    int
        0 without layers.
    """
    return int(np.ceil(n_layers * kept_fraction - 1e-9))


def escape_energy(thickness: float) -> float:
    """Energy of an electron whose range is a thickness of silicon: faster ones leave the layer.

    R = 0.0276 A E^1.67/(Z^0.889 rho) in um and keV (K. Kanaya and S. Okayama, J. Phys. D 5 (1972) 43).

    Parameters
    ----------
    thickness : float
        Thickness [um].

    Returns
    -------
    float
        Energy [eV]: 47 keV for 20 um.
    """
    return float(1e3 * (thickness / (0.0276 * 28.085 / (14**0.889 * 2.329))) ** (1.0 / 1.67))


@cache
def loss_tables(
    thickness: float, n_layers: int, kept_fraction: float, noise: float, gain_spread: float, threshold: float
) -> LossTables:
    """Tables of a detector of like layers.

    Parameters
    ----------
    thickness : float
        Sensitive thickness [um].
    n_layers : int
        Largest number of signals of a track.
    kept_fraction : float
        Part of the signals that the truncated mean keeps.
    noise : float
        Standard deviation of the noise [eV].
    gain_spread : float
        Relative spread of the gain from pixel to pixel.
    threshold : float
        Lowest energy that is a signal [eV].

    Returns
    -------
    LossTables
        Read-only; made once per process and set of arguments.
    """
    speed = np.linspace(np.log(_SPEED_LOW), np.log(_SPEED_HIGH), N_SPEED)
    path = np.log(thickness) + np.linspace(0.0, np.log(_LONGEST), N_PATH)
    cut = escape_energy(thickness)
    shape = (N_SPEED, N_PATH)
    chance, quantile = np.empty(shape), np.empty((*shape, 2 * (N_QUANTILE + 1)))
    for i, j in np.ndindex(shape):
        energy, density = layer_density(float(np.exp(speed[i])), float(np.exp(path[j])), cut, noise)
        per_length = _EV_PER_UM / np.exp(path[j])
        chance[i, j], body, tail = _quantiles(energy, density, gain_spread, threshold)
        quantile[i, j, : N_QUANTILE + 1], quantile[i, j, N_QUANTILE + 1 :] = per_length * body, per_length * tail
    moments = np.zeros((n_layers + 1, *shape, 2))
    body, tail = np.split(quantile, 2, axis=-1)
    moments[1:] = _moments(body, tail, *_order_weights(n_layers, kept_fraction))
    steps = ((N_SPEED - 1) / (speed[-1] - speed[0]), (N_PATH - 1) / (path[-1] - path[0]))
    tables = LossTables(
        np.array([speed[0], steps[0]]),
        np.array([path[0] - np.log(1e4), steps[1]]),
        chance,
        quantile,
        moments,
    )
    for array in tables:
        array.flags.writeable = False
    return tables


def _quantiles(energy: Floats, density: Floats, gain_spread: float, threshold: float) -> tuple[float, Floats, Floats]:
    """Chance above the threshold, and quantiles of what is above it: of all, and of the upper tail."""
    grid = np.linspace(np.log(max(threshold, energy[-1] * 1e-5)) - 6.0 * gain_spread, np.log(energy[-1]), _N_LOG)
    cumulated = np.cumsum(density)
    # the probability of a bin is centred on its energy
    upper = energy + 0.5 * (energy[1] - energy[0])
    below = np.interp(np.exp(grid), upper, cumulated) / cumulated[-1]
    if gain_spread > 0.0:
        step = grid[1] - grid[0]
        reach = int(np.ceil(5.0 * gain_spread / step))
        kernel = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) * step / gain_spread))
        padded = np.concatenate([np.full(reach, below[0]), below, np.full(reach, below[-1])])
        below = np.convolve(padded, kernel / kernel.sum(), "valid")
    lost = float(np.interp(np.log(threshold), grid, below)) if threshold > 0.0 else 0.0
    nodes = np.linspace(0.0, 1.0, N_QUANTILE + 1)
    # strictly rising, so that the inverse is unique
    rising = below + np.arange(_N_LOG) * 1e-15

    def at(u: Floats) -> Floats:
        values: Floats = np.maximum(np.exp(np.interp(lost + u * (rising[-1] - lost), rising, grid)), threshold)
        return values

    return 1.0 - lost, at(nodes), at(1.0 - TAIL + TAIL * nodes)


def _order_weights(n_layers: int, kept_fraction: float) -> tuple[Floats, Floats]:
    """For n = 1, 2, ... layers: how many are kept, and how the next one is distributed over the nodes.

    Returns
    -------
    kept : (n_layers, 1) float64
        Number of signals in the truncated mean.
    weight : (n_layers, n_nodes) float64
        Probability of each node, half of that of the interval on either side.
    """
    nodes = _merged_nodes()
    kept = np.array([n_kept(n, kept_fraction) for n in range(1, n_layers + 1)], np.float64)
    weight = np.zeros((n_layers, len(nodes)))
    for i, k in enumerate(kept):
        n = i + 1
        if k == n:
            weight[i, -1] = 1.0
            continue
        # the (k+1)-th lowest of n uniform numbers is below v if at least k + 1 of them are
        terms = [math.comb(n, m) * nodes**m * (1.0 - nodes) ** (n - m) for m in range(int(k) + 1, n + 1)]
        chance = np.diff(np.sum(terms, axis=0))
        weight[i, 1:] += 0.5 * chance
        weight[i, :-1] += 0.5 * chance
    return kept[:, np.newaxis], weight


def _merged_nodes() -> Floats:
    """Nodes of the quantiles of body and tail in one rising array."""
    body = np.linspace(0.0, 1.0, N_QUANTILE + 1)
    return np.concatenate([body[:-1], 1.0 - TAIL + TAIL * body[1:]])


def _moments(body: Floats, tail: Floats, kept: Floats, weight: Floats) -> Floats:
    """Mean and standard deviation of the truncated mean of 1, 2, ... independent signals.

    If the (k+1)-th lowest of n uniform numbers is v, which follows a beta distribution (k + 1, n - k), the k lowest are
    independent and uniform below v (H. A. David, Order Statistics, 1981, section 2.5). So mean and mean square of their
    sum are integrals over v of the moments of the quantile function below v.

    Parameters
    ----------
    body, tail : (..., N_QUANTILE + 1) float64
        Quantiles.
    kept, weight : (n_layers, 1), (n_layers, n_nodes) float64
        From `_order_weights`.

    Returns
    -------
    (n_layers, ..., 2) float64
    """
    nodes = _merged_nodes()
    q = np.concatenate([body[..., :-1], tail[..., 1:]], axis=-1)
    du = np.diff(nodes)
    low, high = q[..., :-1], q[..., 1:]
    # the quantile function is linear between nodes
    first = np.cumsum(du * (high + low) / 2.0, axis=-1) / nodes[1:]
    second = np.cumsum(du * (high**2 + high * low + low**2) / 3.0, axis=-1) / nodes[1:]
    start = q[..., :1]
    mean, square, product = (
        np.moveaxis(np.concatenate([at_zero, below], axis=-1) @ weight.T, -1, 0)
        for at_zero, below in ((start, first), (start**2, second), (start**2, first**2))
    )
    n = kept.reshape(-1, *(1,) * (q.ndim - 1))
    variance = square / n + product * (n - 1.0) / n - mean**2
    return np.stack([mean, np.sqrt(np.maximum(variance, 0.0))], axis=-1)
