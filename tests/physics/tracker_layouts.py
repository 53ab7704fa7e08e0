"""Small made-up trackers whose resolutions are known in closed form; not a test itself."""

from flashdet.lut.layout import Layer, Layout

MICRON = 1e-4
FAR = 1e4


def cylinder(
    name, radius, *, sigma=10 * MICRON, sigma_z=None, x_over_x0=0.0, density=0.0, half_length=FAR, efficiency=1.0
):
    z = sigma if sigma_z is None else sigma_z
    inert = sigma == 0.0
    return Layer(name, "cylinder", radius, -half_length, half_length, x_over_x0, density, sigma, z, efficiency, inert)


def disc(name, z, *, sigma=10 * MICRON, x_over_x0=0.0, density=0.0, r_min=0.0, r_max=FAR, efficiency=1.0):
    return Layer(name, "disc", z, r_min, r_max, x_over_x0, density, sigma, sigma, efficiency, sigma == 0.0)


def barrel(radii, field=2.0, minimum_hits=4, extra=(), settings=None, **layer):
    layers = tuple(cylinder(f"L{i:02d}", r, **layer) for i, r in enumerate(radii))
    return Layout("made up", field, (*extra, *layers), minimum_hits=minimum_hits, **(settings or {}))
