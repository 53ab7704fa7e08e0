"""A layout card as an ACTS tracking geometry: cylinders and discs with their material, and the file of hit resolutions.

Written for pyacts 48. Volumes are cut so that each holds one layer: planes of constant radius that cross no disc, and
planes of constant z that cross no cylinder, until every piece has one layer. ACTS then fits the volumes together.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import acts
import acts.json

from flashdet.lut.layout import Layer, Layout

CM = 10.0  # ACTS counts in mm
#: Silicon (PDG, atomic and nuclear properties): X0 [mm], nuclear interaction length [mm], A, Z, density [g/cm3], mean
#: excitation energy [eV].
SILICON = (93.70, 465.2, 28.0855, 14.0, 2.329, 173.0)
#: Volumes reach this far beyond the layer they hold [mm].
ENVELOPE = 0.05
#: Largest ratio of the radii of a ring. The local coordinates of discs are polar, and the smearing in phi has one width
#: per surface: in rings of this ratio the resolution across the radius is right within 7 %.
RING = 1.15


@dataclass
class Piece:
    """A layer and the place it takes: (r, z) ranges [mm]."""

    layer: Layer
    r: tuple[float, float]
    z: tuple[float, float]


def _piece(layer: Layer) -> Piece:
    span = (layer.low * CM, layer.high * CM)
    place = (layer.position * CM - ENVELOPE, layer.position * CM + ENVELOPE)
    return Piece(layer, place, span) if layer.kind == "cylinder" else Piece(layer, span, place)


def _cut(pieces: list[Piece], direction: str) -> list[list[Piece]]:
    """Groups of pieces whose ranges do not overlap, in ascending order."""
    groups: list[list[Piece]] = []
    end = -float("inf")
    for piece in sorted(pieces, key=lambda p: getattr(p, direction)):
        low, high = getattr(piece, direction)
        if low < end or not groups:
            groups = groups or [[]]
            groups[-1].append(piece)
        else:
            groups.append([piece])
        end = max(end, high)
    return groups


@dataclass
class Sensor:
    """A surface of a layer: the whole of a cylinder, a ring of a disc; and its (mean) radius [mm]."""

    layer: Layer
    surface: Any
    radius: float


def _identifier(surface: Any) -> dict[str, int]:
    known = surface.geometryId
    return {"volume": known.volume, "layer": known.layer, "sensitive": known.sensitive}


class Geometry:
    """An ACTS geometry made of a layout.

    Attributes
    ----------
    tracking_geometry : acts.TrackingGeometry
        For simulation and fit.
    field : acts.ConstantBField
        Of the layout, along z.
    sensors : list of Sensor
        Surfaces of the layers, measuring or not.
    hit_efficiency : dict of int to float
        Of the measuring surfaces, by the value of their identifiers.
    digitisation : Path
        File with the resolutions of hits.
    """

    def __init__(self, layout: Layout, folder: Path) -> None:
        self.layout = layout
        self.sensors: list[Sensor] = []
        world = acts.Blueprint(envelope=acts.ExtentEnvelope(r=[0.0, 1.0], z=[1.0, 1.0]))
        pieces = [_piece(layer) for layer in layout.layers]
        root = acts.CylinderContainerBlueprintNode("tracker", acts.AxisDirection.AxisR)
        half_length = max(abs(z) for p in pieces for z in p.z)
        inner = 0.9 * min(p.r[0] for p in pieces)
        beam = acts.CylinderVolumeBounds(0.0, inner, half_length)
        root.addStaticVolume(acts.Transform3.Identity(), beam, "beam")
        self._add(root, pieces, "r", "inside")
        world.addChild(root)
        self.tracking_geometry = world.construct(
            options=acts.BlueprintOptions(),
            gctx=acts.GeometryContext.dangerouslyDefaultConstruct(),
            level=acts.logging.WARNING,
        )
        material = folder / "material.json"
        material.write_text(json.dumps(self._material(), indent=1))
        acts.json.TrackingGeometryMaterialJsonConverter().fromFile(str(material)).apply(self.tracking_geometry)
        self.digitisation = folder / "digitisation.json"
        self.digitisation.write_text(json.dumps(self._resolutions(), indent=1))
        self.hit_efficiency = {
            sensor.surface.geometryId.value: sensor.layer.efficiency
            for sensor in self.sensors
            if not sensor.layer.is_inert
        }
        self.field = acts.ConstantBField(acts.Vector3(0.0, 0.0, layout.field * acts.UnitConstants.T))

    def _add(self, parent: Any, pieces: list[Piece], direction: str, name: str) -> None:
        """Put pieces into a container that is stacked along `direction`."""
        for number, group in enumerate(_cut(pieces, direction)):
            if len(group) == 1:
                self._layer(parent, group[0])
                continue
            other = "z" if direction == "r" else "r"
            if len(_cut(group, other)) == 1:
                names = ", ".join(p.layer.name for p in group)
                raise ValueError(f"no plane of constant r or z separates the layers {names}")
            axis = acts.AxisDirection.AxisZ if other == "z" else acts.AxisDirection.AxisR
            child = parent.addCylinderContainer(f"{name}_{number}", axis)
            self._add(child, group, other, f"{name}_{number}")

    def _layer(self, parent: Any, piece: Piece) -> None:
        layer = piece.layer
        if layer.kind == "cylinder":
            bounds = acts.CylinderBounds(layer.position * CM, layer.high * CM)
            mine = [Sensor(layer, acts.Surface.createCylinder(acts.Transform3.Identity(), bounds), layer.position * CM)]
        else:
            place = acts.Transform3(acts.Vector3(0.0, 0.0, layer.position * CM))
            n = max(1, math.ceil(math.log(layer.high / layer.low) / math.log(RING)))
            edges = [layer.low * CM * (layer.high / layer.low) ** (i / n) for i in range(n + 1)]
            mine = [
                Sensor(layer, acts.Surface.createDisc(place, acts.RadialBounds(a, b)), math.sqrt(a * b))
                for a, b in itertools.pairwise(edges)
            ]
        # inert layers too: only the material of sensitive surfaces is passed on the way, and without an entry in the
        # file of resolutions they measure nothing
        for sensor in mine:
            sensor.surface.assignIsSensitive(True)
        node = parent.addLayer(layer.name)
        node.surfaces = [sensor.surface for sensor in mine]
        node.layerType = getattr(acts.LayerBlueprintNode.LayerType, "Cylinder" if layer.kind == "cylinder" else "Disc")
        node.envelope = acts.ExtentEnvelope(r=[ENVELOPE, ENVELOPE], z=[ENVELOPE, ENVELOPE])
        node.navigationPolicyFactory = acts.NavigationPolicyFactory.make().add(acts.TryAllNavigationPolicy)
        self.sensors += mine

    def _material(self) -> dict[str, Any]:
        """Silicon of the layer's x/X0 and areal density: the thickness from x/X0, the density scaled to fit."""
        x0, l0, a, z, density, excitation = SILICON
        surfaces = []
        for sensor in self.sensors:
            layer = sensor.layer
            if layer.x_over_x0 == 0.0:
                continue
            thickness = layer.x_over_x0 * x0
            scale = layer.areal_density / (thickness / CM * density)
            molar = scale * density / 1000.0 / a  # mol/mm3
            material = {
                "kind": "material",
                "radiation_length": x0,
                "interaction_length": l0,
                "relative_atomic_mass": a,
                "atomic_number": z,
                "molar_density": molar,
                "molar_electron_density": molar * z,
                "mean_excitation_energy": excitation,
            }
            surfaces.append(
                {
                    "target": {"kind": "geometry-id", "geometry_id": _identifier(sensor.surface)},
                    "material": {
                        "kind": "homogeneous",
                        "settings": {"mapping_type": "default", "split_factor": 1.0},
                        "slab": {"material": material, "thickness": thickness},
                    },
                }
            )
        units = {"length": "mm", "angle": "rad", "energy": "eV", "material_amount": "mol"}
        return {"header": {"format": "acts-material-map", "version": 1, "units": units}, "surfaces": surfaces}

    def _resolutions(self) -> dict[str, Any]:
        """Gaussian smearing along the local axes: r phi and z of a cylinder, r and phi of a ring."""
        entries = []
        for sensor in self.sensors:
            layer = sensor.layer
            if layer.is_inert:
                continue
            widths = [layer.resolution_rphi * CM, layer.resolution_z * CM]
            if layer.kind == "disc":
                widths = [widths[1], widths[0] / sensor.radius]
            smearing = [{"index": i, "mean": 0.0, "stddev": width, "type": "Gauss"} for i, width in enumerate(widths)]
            entries.append({**_identifier(sensor.surface), "value": {"smearing": smearing}})
        head = {"format-version": 0, "value-identifier": "digitization-configuration"}
        return {"acts-geometry-hierarchy-map": head, "entries": entries}
