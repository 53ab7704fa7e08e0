"""What a text parser can meet: result codes, their meaning, and where attributes of events are kept."""

from __future__ import annotations

#: The text was used up; the caller's arrays are full; a line that belongs to no event.
DONE, FULL, HEADER = 0, 1, 2
#: A number has more digits than 64 bits can decide: the caller rewrites it and comes back.
LONG_NUMBER = 3
#: The event is readable but of a kind that HepMC3 changes while it reads, or has numbers nobody can mean.
IRREGULAR, ABSURD = 4, 5
#: Damage. Each code has its sentence in `MEANING`.
BAD_NUMBER, SHORT_LINE, LONG_LINE, UNKNOWN_LINE, ORDER, PARTICLE_ID, REFERENCE, TWO_ENDS = (
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
)
PARTICLE_COUNT, VERTEX_COUNT, WEIGHT_COUNT, NOT_FINITE, UNITS = 20, 21, 22, 23, 24

#: Code -> (what came, what is allowed).
MEANING = {
    BAD_NUMBER: "a field is not a number of the right kind",
    SHORT_LINE: "the line ends before its last field",
    LONG_LINE: "the line has more fields than its kind allows",
    UNKNOWN_LINE: "no line of an event starts like this",
    ORDER: "this line does not belong here in an event",
    PARTICLE_ID: "particle numbers of an event must count 1, 2, 3, ...",
    REFERENCE: "the line refers to a particle or vertex that the event does not have",
    TWO_ENDS: "a particle ends in two vertices, or two vertices have one number",
    PARTICLE_COUNT: "the number of particles differs from the one announced in the E line",
    VERTEX_COUNT: "the number of vertices differs from the one announced in the E line",
    WEIGHT_COUNT: "the number of weights differs from the number of weight names",
    NOT_FINITE: "a momentum, mass, position or weight is not finite",
    UNITS: "the units must be GEV or MEV and MM or CM",
}

# Places of the numbers of an event's records behind `buffers.ATTRIBUTES`; NaN means that the input gives none.
CROSS_SECTION, SIGNAL, SCALE, CYCLES, PDF, HEAVY_ION = 0, 2, 3, 4, 5, 12
N_ATTRIBUTES = 26
# How many numbers of a record are kept, how many must be there, and how many of them are integers.
CROSS_SECTION_FIELDS, PDF_FIELDS, HEAVY_ION_FIELDS = (2, 2, 0), (7, 7, 2), (14, 13, 9)
ONE_INTEGER, ONE_NUMBER = (1, 1, 1), (1, 1, 0)
