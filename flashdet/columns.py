"""Every column once: table, name, dtype, unit, sentence.

Documentation, file metadata, checks and error texts come from these declarations. Tables of a detector are declared
under the kind of their stage (``tof``) and renamed to the stage's name in the card (``otof``) by :func:`for_stage`.
This module holds no data and no behaviour.
"""

from __future__ import annotations

from flashdet.column import Column as Column
from flashdet.column import for_stage as for_stage
from flashdet.column import hypotheses as _hypotheses
from flashdet.column import pick as pick
from flashdet.column import table as _table
from flashdet.species import SPECIES

#: Version of the tables below. Major: a column was removed or changed its meaning; minor: one was added.
#: History: 1.0 first version. Columns with a rule how they follow from others are in files on demand only.
DATA_MODEL_VERSION = "1.0"


# --- what the generator says -----------------------------------------------------------------------------------------
#: One row per event.
EVENT = _table(
    "event",
    ("number", "i8", "", "event number as written in the input"),
    ("key", "u8", "", "64-bit counter word of the event for all its random numbers (ADR 0001)"),
    ("weight", "f8", "", "first event weight, 1 if the input has none"),
    ("cross_section", "f8", "pb", "generator cross section so far", (), "the input gives none"),
    ("cross_section_error", "f8", "pb", "statistical error of the cross section", (), "the input gives none"),
    ("signal_process", "i4", "", "signal process id of the generator, -1 if the input gives none"),
    ("event_scale", "f8", "GeV", "hard scale of the event", (), "the input gives none"),
    ("vx", "f8", "cm", "x of the generated collision"),
    ("vy", "f8", "cm", "y of the generated collision"),
    ("vz", "f8", "cm", "z of the generated collision"),
    ("vt", "f8", "ns", "time of the generated collision"),
    ("pdf_id1", "i4", "", "flavour of the first incoming parton, 0 if the input gives none"),
    ("pdf_id2", "i4", "", "flavour of the second incoming parton, 0 if the input gives none"),
    ("pdf_x1", "f8", "", "momentum fraction of the first incoming parton", (), "the input gives none"),
    ("pdf_x2", "f8", "", "momentum fraction of the second incoming parton", (), "the input gives none"),
    ("pdf_scale", "f8", "GeV", "factorisation scale", (), "the input gives none"),
    ("pdf_xf1", "f8", "", "x f(x) of the first incoming parton", (), "the input gives none"),
    ("pdf_xf2", "f8", "", "x f(x) of the second incoming parton", (), "the input gives none"),
    ("n_coll_hard", "i4", "", "hard nucleon-nucleon collisions, -1 if not given"),
    ("n_part_projectile", "i4", "", "participants of the projectile, -1 if not given"),
    ("n_part_target", "i4", "", "participants of the target, -1 if not given"),
    ("n_coll", "i4", "", "nucleon-nucleon collisions, -1 if not given"),
    ("n_spectator_neutrons", "i4", "", "spectator neutrons, -1 if not given"),
    ("n_spectator_protons", "i4", "", "spectator protons, -1 if not given"),
    ("impact_parameter", "f8", "fm", "impact parameter", (), "not a heavy-ion event"),
    ("event_plane_angle", "f8", "rad", "azimuth of the event plane", (), "not a heavy-ion event"),
    ("eccentricity", "f8", "", "eccentricity of the participants", (), "not given"),
    ("sigma_inel_nn", "f8", "mb", "inelastic nucleon-nucleon cross section", (), "not given"),
    ("centrality", "f8", "%", "centrality", (), "not given"),
)
#: One row per event: all weights in the order of ``batch.weight_names`` (shape set by the reader).
EVENT_WEIGHTS = Column("event", "weights", "f8", "", "all event weights, in the order of the weight names", (-1,))

#: One row per particle of the generator record, in the order of the input.
PARTICLE = _table(
    "particle",
    ("pdg", "i4", "", "PDG code"),
    ("status", "i4", "", "status code of the input (1 final, 2 decayed, 4 beam, others by generator)"),
    ("px", "f8", "GeV", "x of the momentum"),
    ("py", "f8", "GeV", "y of the momentum"),
    ("pz", "f8", "GeV", "z of the momentum"),
    ("energy", "f8", "GeV", "energy"),
    ("mass", "f8", "GeV", "generated mass as written in the input"),
    ("vx", "f8", "cm", "x of the production vertex"),
    ("vy", "f8", "cm", "y of the production vertex"),
    ("vz", "f8", "cm", "z of the production vertex"),
    ("vt", "f8", "ns", "time of the production vertex"),
    ("production_vertex", "i4", "", "vertex that made it, -1 if none; its mothers have it as end_vertex"),
    ("end_vertex", "i4", "", "vertex where it ends, -1 if none; its daughters have it as production_vertex"),
)

# --- what the material makes of it ---------------------------------------------------------------------------------
#: Two rows per photon that converts, positron first: ``<name>_pair``. Written by `conversions`, read by `propagate`.
CONVERSIONS_PAIR = _table(
    "conversions_pair",
    ("particle_index", "i4", "", "-2 - 2 photon_index for the positron, -3 - 2 photon_index for the electron"),
    ("photon_index", "i4", "", "row of the photon within its event"),
    ("layer", "i2", "", "layer with material, in the order of the layout, where it converts"),
    ("pdg", "i4", "", "PDG code"),
    ("status", "i4", "", "1: final"),
    ("px", "f8", "GeV", "x of the momentum"),
    ("py", "f8", "GeV", "y of the momentum"),
    ("pz", "f8", "GeV", "z of the momentum"),
    ("mass", "f8", "GeV", "mass"),
    ("vx", "f8", "cm", "x of the conversion"),
    ("vy", "f8", "cm", "y of the conversion"),
    ("vz", "f8", "cm", "z of the conversion"),
    ("vt", "f8", "ns", "time of the conversion, without collision time"),
)

# --- what is tracked -------------------------------------------------------------------------------------------------
#: One row per final-state charged particle offered to the tracker: truth only. Written by `propagate`.
CHARGED = _table(
    "charged",
    ("particle_index", "i4", "", "row of the particle within its event; below -1: made by a conversion, see there"),
    ("pdg", "i4", "", "PDG code"),
    ("species", "i1", "", "index of the species whose LUT is used (flashdet.species.SPECIES)"),
    ("charge", "i1", "e", "charge"),
    ("mass", "f8", "GeV", "mass"),
    ("pt", "f8", "GeV", "transverse momentum at the production vertex"),
    ("eta", "f8", "", "pseudorapidity"),
    ("phi", "f8", "rad", "azimuth of the momentum at the production vertex, in (-pi, pi]"),
    ("vx", "f8", "cm", "x of the production vertex"),
    ("vy", "f8", "cm", "y of the production vertex"),
    ("vz", "f8", "cm", "z of the production vertex"),
    ("vt", "f8", "ns", "time of production, collision time included"),
    ("alpha", "f8", "rad", "azimuth of the momentum at the point of closest approach to the z axis"),
    ("y", "f8", "cm", "signed distance to the z axis there, along (-sin alpha, cos alpha)"),
    ("z", "f8", "cm", "z of that point"),
    ("tgl", "f8", "", "pz/pt"),
    ("q_over_pt", "f8", "1/GeV", "charge over transverse momentum"),
)
#: Column of `propagate` if its particles decay.
CHARGED_DECAY = _table(
    "charged", ("decay_path", "f8", "cm", "path from production to the decay in flight (option `decays`)", (), "stable")
)
#: Columns that `propagate` adds to the event table.
EVENT_PROPAGATE = _table(
    "event",
    ("dndeta", "f8", "", "charged particles per unit of pseudorapidity, as the card defines it"),
    ("collision_time", "f8", "ns", "offset of the collision from its bunch crossing, drawn from the card's spread"),
)

#: One row per reconstructed track; the first group is what the tracker measured. Written by `tracking`.
TRACK = _table(
    "track",
    ("particle_index", "i4", "", "row of the generated particle within its event; below -1: made by a conversion"),
    ("x", "f8", "cm", "local x of the reference point: 0, the point of closest approach to the z axis"),
    ("alpha", "f8", "rad", "rotation of the local frame about z"),
    ("y", "f8", "cm", "local y of the reference point"),
    ("z", "f8", "cm", "z of the reference point"),
    ("snp", "f8", "", "sine of the azimuth of the momentum in the local frame"),
    ("tgl", "f8", "", "pz/pt"),
    ("q_over_pt", "f8", "1/GeV", "charge over pt: the inverse transverse rigidity with the sign of the charge"),
    ("cov", "f8", "", "covariance of (y, z, snp, tgl, q_over_pt), lower triangle row by row", (15,)),
    ("pt", "f8", "GeV", "1/|q_over_pt|: pt for charge 1, transverse rigidity pt/|z| for nuclei"),
    ("eta", "f8", "", "pseudorapidity, asinh(tgl)"),
    ("phi", "f8", "rad", "azimuth of the momentum at the reference point, in (-pi, pi]"),
    ("charge", "i1", "e", "sign of the charge"),
    ("species_true", "i1", "", "index of the species whose LUT was used (flashdet.species.SPECIES)"),
    ("pdg_true", "i4", "", "PDG code of the generated particle"),
    ("charge_true", "i1", "e", "charge of the generated particle"),
    ("mass_true", "f8", "GeV", "mass of the generated particle"),
    ("pt_true", "f8", "GeV", "generated transverse momentum at the production vertex"),
    ("eta_true", "f8", "", "generated pseudorapidity"),
    ("phi_true", "f8", "rad", "generated azimuth of the momentum at the production vertex"),
    ("vx_true", "f8", "cm", "x of the production vertex"),
    ("vy_true", "f8", "cm", "y of the production vertex"),
    ("vz_true", "f8", "cm", "z of the production vertex"),
    ("vt_true", "f8", "ns", "time of production, collision time included"),
)

#: Column that `decay` adds to the track table.
TRACK_END = _table(
    "track",
    (
        "end_path_true", "f8", "cm", "path from production to the decay in flight or to an absorber", (), "neither",
    ),
)  # fmt: skip

# --- what the event tells --------------------------------------------------------------------------------------------
#: Zero or one row per event. Written by `vertex`.
VERTEX = _table(
    "vertex",
    ("x", "f8", "cm", "x of the primary vertex"),
    ("y", "f8", "cm", "y of the primary vertex"),
    ("z", "f8", "cm", "z of the primary vertex"),
    ("cov", "f8", "cm2", "covariance xx, xy, yy, xz, yz, zz", (6,)),
    ("chi2", "f8", "", "chi2 of the weighted fit"),
    ("n_contributors", "i4", "", "tracks with a weight above one half"),
)
#: Columns that `vertex` adds to the track table.
TRACK_VERTEX = _table(
    "track",
    ("dca_xy", "f8", "cm", "signed transverse distance to the primary vertex without this track", (), "no vertex"),
    ("dca_z", "f8", "cm", "z distance at that point", (), "no vertex"),
    ("dca_xy_error", "f8", "cm", "error of dca_xy from track and that vertex", (), "no vertex"),
    ("dca_z_error", "f8", "cm", "error of dca_z from track and that vertex", (), "no vertex"),
    ("is_pv_contributor", "?", "", "true if the track entered the primary vertex with a weight above one half"),
)

# --- what the detectors say: one row per track, in the order of `track` ----------------------------------------------
_NO_HIT = "no signal"
TOF = (
    *_table(
        "tof",
        ("has_signal", "?", "", "true if the track made a hit"),
        ("surface", "i1", "", "index of the surface that was hit, -1 without a hit"),
        ("time", "f8", "ns", "measured arrival time", (), _NO_HIT),
        ("time_error", "f8", "ns", "detector resolution of the arrival time", (), _NO_HIT),
        ("path_length", "f8", "cm", "measured path from the reference point to the surface", (), _NO_HIT),
        ("path_length_true", "f8", "cm", "path of the generated particle from production to the surface", (), _NO_HIT),
        ("is_mismatched_true", "?", "", "true if the time is that of another particle's hit"),
        ("beta", "f8", "", "path_length / (c (time - event_time))", (), _NO_HIT),
        ("event_time", "f8", "ns", "event time used for this track, found without it (leave-one-out)"),
        ("event_time_error", "f8", "ns", "error of that event time"),
    ),
    *_hypotheses("tof", "expected", "f8", "ns", "expected time of flight for a {}", _NO_HIT),
    *_hypotheses(
        "tof",
        "expected_error",
        "f8",
        "ns",
        "error of the expected time from path and momentum, {}",
        _NO_HIT,
        "sqrt(((time - event_time - expected_{})/n_sigma_{})^2 - time_error^2 - event_time_error^2)",
    ),
    *_hypotheses("tof", "n_sigma", "f8", "", "(time - event_time - expected)/sigma for a {}", _NO_HIT),
)
#: Those that need the time of the collision; a stage `event_time` adds them if the detector leaves them to it.
TOF_TIMED = pick(TOF, "beta", "event_time", "event_time_error", *(f"n_sigma_{s}" for s in SPECIES))
#: Columns that a `tof` stage adds to a table of its own, one row per event: ``<name>_event``.
TOF_EVENT = _table(
    "tof_event",
    ("time", "f8", "ns", "event time from all tracks"),
    ("time_error", "f8", "ns", "its error"),
    ("n_tracks", "i4", "", "tracks that entered it"),
)
#: Columns of an `event_time` stage, one row per track.
EVENT_TIME = _table(
    "event_time",
    ("event_time", "f8", "ns", "event time from all detectors, found without any hit of this track (leave-one-out)"),
    ("event_time_error", "f8", "ns", "error of that event time"),
)
#: The same per event: ``<name>_event``.
EVENT_TIME_EVENT = _table(
    "event_time_event",
    ("time", "f8", "ns", "event time from all tracks and detectors"),
    ("time_error", "f8", "ns", "its error"),
    ("n_tracks", "i4", "", "tracks that entered it"),
)
#: Columns of that table if the stage has a start detector.
EVENT_TIME_START = _table(
    "event_time_event",
    ("start_time", "f8", "ns", "time of the start detector", (), "it gave none"),
    ("start_time_error", "f8", "ns", "its error", (), "it gave none"),
)
_NO_RING = "no ring"
RICH = (
    *_table(
        "rich",
        ("has_acceptance", "?", "", "true if the track crosses radiator and photon detector"),
        ("has_signal", "?", "", "true if a ring was found; false and has_acceptance: the veto information"),
        ("angle", "f8", "rad", "measured Cherenkov angle", (), _NO_RING),
        ("angle_error", "f8", "rad", "error of the measured angle", (), _NO_RING),
        ("n_photons", "i4", "", "detected photons, those of the background within the ring included"),
        ("n_photons_gas", "i4", "", "detected photons of the gas radiator, 0 without one"),
    ),
    *_hypotheses("rich", "expected", "f8", "rad", "expected angle for a {}", "below threshold or not in acceptance"),
    *_hypotheses(
        "rich",
        "n_sigma",
        "f8",
        "",
        "(angle - expected)/sigma for a {}, momentum error included",
        "no ring or below threshold",
    ),
    *_hypotheses(
        "rich",
        "log_likelihood",
        "f8",
        "",
        "log-likelihood of photons and angle, or of no ring, for a {}, up to a constant of the track; 0 outside",
        "",
    ),
)
_NO_CLUSTER = "no cluster"
EMCAL = (
    *_table(
        "emcal",
        ("has_acceptance", "?", "", "true if the track reaches the calorimeter's surface"),
        ("has_signal", "?", "", "true if a cluster is matched"),
        ("cluster_index", "i4", "", "row of the matched cluster within the event, -1 if none"),
        ("energy", "f8", "GeV", "energy of the matched cluster", (), _NO_CLUSTER),
        ("energy_error", "f8", "GeV", "error of that energy", (), _NO_CLUSTER),
        ("e_over_p", "f8", "", "energy over momentum", (), _NO_CLUSTER),
        (
            "distance",
            "f8",
            "cm",
            "distance from the measured track to the cluster",
            (),
            "no cluster, or truth matching",
        ),
        ("time", "f8", "ns", "arrival time of the matched cluster", (), _NO_CLUSTER),
        ("n_sigma_width", "f8", "", "width of the matched cluster, see the cluster", (), _NO_CLUSTER),
    ),
    *_hypotheses("emcal", "expected", "f8", "GeV", "expected energy for a {}", "not in acceptance"),
    *_hypotheses("emcal", "n_sigma", "f8", "", "(energy - expected)/width of that for a {}", _NO_CLUSTER),
)
#: One row per calorimeter cluster: ``<name>_cluster``.
EMCAL_CLUSTER = _table(
    "emcal_cluster",
    ("particle_index", "i4", "", "row of the particle that made most of it, within the event"),
    ("track_index", "i4", "", "row of the matched track within the event, -1 if none"),
    ("surface", "i1", "", "index of the surface that was hit"),
    ("energy", "f8", "GeV", "measured energy"),
    ("energy_error", "f8", "GeV", "error of the energy"),
    ("x", "f8", "cm", "x of the cluster"),
    ("y", "f8", "cm", "y of the cluster"),
    ("z", "f8", "cm", "z of the cluster"),
    ("position_error", "f8", "cm", "error of the position along each direction of the surface"),
    ("eta", "f8", "", "pseudorapidity as seen from the origin"),
    ("phi", "f8", "rad", "azimuth as seen from the z axis"),
    ("energy_true", "f8", "GeV", "energy of the particles that made it"),
    ("n_particles", "i4", "", "particles that made it"),
    ("time", "f8", "ns", "arrival time of the particle that made most of it, measured"),
    ("time_error", "f8", "ns", "error of the time"),
    ("width", "f8", "cm", "standard deviation of the shower per coordinate of the surface"),
    ("n_sigma_width", "f8", "", "ln(width / mean of electromagnetic showers) / spread of those"),
)
MUON = (
    *_table(
        "muon",
        ("has_acceptance", "?", "", "true if the maps cover the track"),
        ("has_signal", "?", "", "true if muon chambers matched the track: it is tagged as a muon"),
    ),
    *_hypotheses("muon", "expected", "f8", "", "probability that a {} is tagged", "not in acceptance"),
    *_hypotheses("muon", "n_sigma", "f8", "", "(tag - P)/sqrt(P (1 - P)) for a {}", "not in acceptance or no width"),
)
_NO_LOSS = "too few layers with a signal"
TOT = (
    *_table(
        "tot",
        ("has_signal", "?", "", "true if enough layers have a signal"),
        ("n_layers", "i1", "", "layers with a signal above threshold"),
        ("signal", "f8", "GeV/cm", "truncated mean of the energy over path length in silicon", (), _NO_LOSS),
    ),
    *_hypotheses("tot", "expected", "f8", "GeV/cm", "expected truncated mean for a {}", _NO_LOSS),
    *_hypotheses("tot", "n_sigma", "f8", "", "(signal - expected)/width for a {}", _NO_LOSS),
    *_hypotheses("tot", "log_likelihood", "f8", "", "log of the density of the signal for a {}", _NO_LOSS),
)
#: The combination of detectors.
PID = (
    *_table(
        "pid",
        ("has_signal", "?", "", "true if any of the combined detectors has a signal"),
        ("n_detectors", "i1", "", "combined detectors with a signal"),
        ("most_likely", "i1", "", "index of the species of highest probability, -1 without a signal"),
    ),
    *_hypotheses("pid", "log_likelihood", "f8", "", "sum of the log-likelihoods of a {}, 0 without a signal", ""),
    *_hypotheses("pid", "probability", "f8", "", "probability of a {}: likelihoods times priors", ""),
)
