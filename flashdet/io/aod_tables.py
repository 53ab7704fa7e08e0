"""Names and codes of the AO2D format: which of our columns is which branch, and what its packed words mean.

The layouts are those of the O2 data model (AliceO2, Framework/Core/include/Framework/AnalysisDataModel.h and
SimulationDataFormat). Here are only tables and the packing of single values; trees are built in
:mod:`flashdet.io.aod`, and read back in :mod:`flashdet.io.aod_read`.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.io.tables import camel
from flashdet.kernels.jit import bare_kernel

#: Branches of O2track that are columns of `track` (DECLARE_SOA_TABLE StoredTracks).
TRACK_PARAMETERS = {
    "fX": "x",
    "fAlpha": "alpha",
    "fY": "y",
    "fZ": "z",
    "fSnp": "snp",
    "fTgl": "tgl",
    "fSigned1Pt": "q_over_pt",
}
#: Columns of `track` that follow from `TRACK_PARAMETERS`; not written.
TRACK_DERIVED = ("pt", "eta", "phi", "charge")
#: TrackType "Track": parameters at the point of closest approach, not at the innermost update (enum TrackTypeEnum).
TRACK_TYPE = 1

#: Place of each diagonal element in the lower triangle of (y, z, snp, tgl, q/pt).
SIGMA_BRANCHES = {"fSigmaY": 0, "fSigmaZ": 2, "fSigmaSnp": 5, "fSigmaTgl": 9, "fSigma1Pt": 14}
#: Place of each correlation in that triangle, and its row and column.
RHO_BRANCHES = {
    "fRhoZY": (1, 1, 0),
    "fRhoSnpY": (3, 2, 0),
    "fRhoSnpZ": (4, 2, 1),
    "fRhoTglY": (6, 3, 0),
    "fRhoTglZ": (7, 3, 1),
    "fRhoTglSnp": (8, 3, 2),
    "fRho1PtY": (10, 4, 0),
    "fRho1PtZ": (11, 4, 1),
    "fRho1PtSnp": (12, 4, 2),
    "fRho1PtTgl": (13, 4, 3),
}

#: O2trackextra_002 for what FlashDet does not measure: O2's own "not filled" values (AODProducerWorkflowSpec.h,
#: TrackExtraInfo). Number of clusters 0 says "no hit information", not "no hits".
TRACKEXTRA_ABSENT: dict[str, Any] = {
    "fTPCInnerParam": np.float32(0),
    "fITSClusterSizes": np.uint32(0),
    "fTPCNClsFindable": np.uint8(0),
    "fTPCNClsFindableMinusFound": np.int8(0),
    "fTPCNClsFindableMinusPID": np.int8(0),
    "fTPCNClsFindableMinusCrossedRows": np.int8(0),
    "fTPCNClsShared": np.uint8(0),
    "fTRDPattern": np.uint8(0),
    **dict.fromkeys(
        (
            "fITSChi2NCl",
            "fTPCChi2NCl",
            "fTRDChi2",
            "fTOFChi2",
            "fTPCSignal",
            "fTRDSignal",
            "fLength",
            "fTOFExpMom",
            "fTrackEtaEMCAL",
            "fTrackPhiEMCAL",
        ),
        np.float32(-999),
    ),
}
#: Value of a resolution that was not measured, as in O2.
NOT_MEASURED = np.float32(-999)
#: Flags of a track (enum TrackFlags); the top four bits are the mass hypothesis of the fit, 2 = pion.
PV_CONTRIBUTOR, PION_HYPOTHESIS = 0x2, 2 << 28
#: Flags of a generated particle (enum MCParticleFlags). ProducedByTransport (0x1) is for secondaries of a transport
#: code: a generator record has none.
PHYSICAL_PRIMARY = 0x4

#: Branches of O2mcparticle_001 that are columns of `particle`.
PARTICLE_COLUMNS = {
    "fPdgCode": "pdg",
    "fPx": "px",
    "fPy": "py",
    "fPz": "pz",
    "fE": "energy",
    "fVx": "vx",
    "fVy": "vy",
    "fVz": "vz",
    "fVt": "vt",
}
#: Branches of the HepMC tables that are columns of `event`.
CROSS_SECTION_COLUMNS = {
    "fXsectGen": "cross_section",
    "fXsectErr": "cross_section_error",
    "fPtHard": "event_scale",
    "fProcessId": "signal_process",
}
PDF_COLUMNS = {
    "fId1": "pdf_id1",
    "fId2": "pdf_id2",
    "fX1": "pdf_x1",
    "fX2": "pdf_x2",
    "fScalePdf": "pdf_scale",
    "fPdf1": "pdf_xf1",
    "fPdf2": "pdf_xf2",
}
HEAVY_ION_COLUMNS = {
    "fNcollHard": "n_coll_hard",
    "fNpartProj": "n_part_projectile",
    "fNpartTarg": "n_part_target",
    "fNcoll": "n_coll",
    "fSpectatorNeutrons": "n_spectator_neutrons",
    "fSpectatorProtons": "n_spectator_protons",
    "fImpactParameter": "impact_parameter",
    "fEventPlaneAngle": "event_plane_angle",
    "fEccentricity": "eccentricity",
    "fSigmaInelNN": "sigma_inel_nn",
    "fCentrality": "centrality",
}
#: Tables that other rows point at by name, and the stem of their O2 index branches.
INDEX_STEMS = {"particle": "McParticles", "track": "Tracks"}


def tree_name(table: str) -> str:
    """Tree of a table that is FlashDet's own: ``O2fdotof`` for ``otof``."""
    return f"O2fd{table}"


@cache
def branch_name(column: str) -> str:
    """Branch of a column: ``fNSigmaPion`` for ``n_sigma_pion``."""
    return "f" + camel(column)


@cache
def index_target(table: str, column: str, written: tuple[str, ...]) -> str | None:
    """Table whose rows a column counts within the event, if that table is in the file.

    Parameters
    ----------
    table, column : str
        Where the column is: ``emcal.cluster_index`` counts rows of ``emcal_cluster``, ``track_index`` of ``track``.
    written : tuple of str
        Tables in the file.

    Returns
    -------
    str or None
        None for a column that is no index, or one whose table is not in the file: both are written as they are.
    """
    if not column.endswith("_index"):
        return None
    base = column.removesuffix("_index")
    return next((t for t in (f"{table}_{base}", base) if t in written), None)


def index_branch(target: str) -> str:
    """Branch of an index into a table: ``fIndexMcParticles``, ``fIndexTracks``, ``fIndexFdEmcalClusters``."""
    return "fIndex" + INDEX_STEMS.get(target, f"Fd{camel(target)}s")


def pack_status(status: NDArray[np.int32]) -> NDArray[np.int32]:
    """Status word of generated particles: HepMC status in bits 0-8, generator status in bits 9-18, 5 in bits 29-31.

    Source: ``o2::mcgenstatus::MCGenStatusEncoding`` of AliceO2.

    Parameters
    ----------
    status : (n,) int32
        Status codes of the input, used for both fields.

    Returns
    -------
    (n,) int32
        A status that a signed field cannot hold (9 and 10 bits) is 0 there; FlashDet's own table has all of them then.
    """
    hepmc = np.where((status >= -256) & (status < 256), status, 0) & 0x1FF
    generator = np.where((status >= -512) & (status < 512), status, 0) & 0x3FF
    word = hepmc.astype(np.uint32) | (generator.astype(np.uint32) << np.uint32(9)) | np.uint32(5 << 29)
    return word.view(np.int32)


def fits_status(status: NDArray[np.int32]) -> bool:
    """Whether `unpack_status` gives back all status codes: 10 bits with a sign hold them."""
    return not len(status) or (int(status.min()) >= -512 and int(status.max()) < 512)


def unpack_status(word: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """HepMC and generator status of a status word; the inverse of `pack_status`.

    Parameters
    ----------
    word : (n,) int32

    Returns
    -------
    hepmc, generator : (n,) int32
        A word without the mark 5 in its top bits is both, as O2 reads it.
    """
    hepmc = ((word & 0x1FF) ^ 0x100) - 0x100
    generator = (((word >> 9) & 0x3FF) ^ 0x200) - 0x200
    is_packed = (word.view(np.uint32) >> np.uint32(29)) == 5
    return np.where(is_packed, hepmc, word), np.where(is_packed, generator, word)


def pack_covariance(cov: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Errors and correlations as O2trackcov has them.

    Parameters
    ----------
    cov : (n, 15) float32
        Lower triangle of the covariance of (y, z, snp, tgl, q/pt), row by row.

    Returns
    -------
    dict of str to array
        float32 errors; int8 correlations in units of 1/128, rounded to the nearest and held within +-127, because
        +128 of a correlation above 127.5/128 is -128 in int8. The correlation with a parameter of error 0 is 0.
    """
    sigma, rho = np.empty((5, len(cov)), np.float32), np.empty((10, len(cov)), np.int8)
    _pack_covariance(np.ascontiguousarray(cov), np.empty(5), sigma, rho)
    return {**dict(zip(SIGMA_BRANCHES, sigma, strict=True)), **dict(zip(RHO_BRANCHES, rho, strict=True))}


@bare_kernel
def _pack_covariance(
    cov: NDArray[np.float32], root: NDArray[np.float64], sigma: NDArray[np.float32], rho: NDArray[np.int8]
) -> None:
    """Rows of sigma and rho are the branches, which stand in the order of the lower triangle."""
    for i in range(len(cov)):
        for row in range(5):
            root[row] = math.sqrt(np.float64(cov[i, row * (row + 3) // 2]))
            sigma[row, i] = np.float32(root[row])
        place, k = 0, 0
        for row in range(5):
            for column in range(row):
                product = root[row] * root[column]
                correlation = np.float64(cov[i, place]) / product if product > 0.0 else 0.0
                rho[k, i] = np.int8(min(max(np.rint(128.0 * correlation), -127.0), 127.0))
                place, k = place + 1, k + 1
            place += 1


def unpack_covariance(branches: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Covariance from errors and int8 correlations, as O2 rebuilds it; the inverse of `pack_covariance` within 1/127.

    Parameters
    ----------
    branches : dict of str to (n,) array
        Branches of O2trackcov.

    Returns
    -------
    (n, 15) float64
    """
    sigma = [branches[n].astype(np.float64) for n in SIGMA_BRANCHES]
    cov = np.zeros((len(sigma[0]), 15))
    for i, place in enumerate(SIGMA_BRANCHES.values()):
        cov[:, place] = sigma[i] ** 2
    for name, (place, row, column) in RHO_BRANCHES.items():
        cov[:, place] = branches[name] / 128.0 * sigma[row] * sigma[column]
    return cov
