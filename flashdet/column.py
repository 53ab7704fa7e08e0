"""What a column is, and how declarations of columns are written, renamed and chosen.

The declarations themselves are in :mod:`flashdet.columns`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from flashdet.species import SPECIES


@dataclass(frozen=True)
class Column:
    """One column of one table.

    Attributes
    ----------
    table, name : str
        Where it lives; ``str(column)`` is ``table.name``.
    dtype : str
        NumPy dtype of the column inside the program.
    unit : str
        Unit in internal units, empty for a number without one.
    doc : str
        One sentence.
    shape : tuple of int
        Shape of one row's value, ``()`` for a scalar.
    missing : str
        What NaN means in this column; empty: every value is finite.
    derived : str
        How it follows from other columns of the same row; empty: it does not. Files have such columns only if the card
        asks for them (``output.derived``).
    """

    table: str
    name: str
    dtype: str
    unit: str
    doc: str
    shape: tuple[int, ...] = ()
    missing: str = ""
    derived: str = ""

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"


def for_stage(columns: Iterable[Column], kind: str, name: str) -> tuple[Column, ...]:
    """Move columns of table `kind` to a table called `name` (``kind_x`` to ``name_x``); leave the others.

    Parameters
    ----------
    columns : iterable of Column
        Declarations, as in :mod:`flashdet.columns`.
    kind, name : str
        Kind of the stage and its name in the card.

    Returns
    -------
    tuple of Column
        The columns as this stage writes them.
    """
    renamed = []
    for column in columns:
        if column.table == kind:
            column = replace(column, table=name)
        elif column.table.startswith(kind + "_"):
            column = replace(column, table=name + column.table[len(kind) :])
        renamed.append(column)
    return tuple(renamed)


def pick(columns: Iterable[Column], *names: str) -> tuple[Column, ...]:
    """Choose columns of a table by name, in the order of the names.

    Parameters
    ----------
    columns : iterable of Column
        Declarations, as in :mod:`flashdet.columns`.
    *names : str
        Names of columns.

    Returns
    -------
    tuple of Column

    Raises
    ------
    KeyError
        A name is not declared.
    """
    by_name = {column.name: column for column in columns}
    return tuple(by_name[name] for name in names)


def table(name: str, *rows: tuple) -> tuple[Column, ...]:
    """Columns of table `name` from rows (name, dtype, unit, doc[, shape[, missing[, derived]]])."""
    return tuple(Column(name, *row) for row in rows)


def hypotheses(
    table: str, what: str, dtype: str, unit: str, doc: str, missing: str, derived: str = ""
) -> tuple[Column, ...]:
    """One column ``what_<species>`` per PID hypothesis; the species stands where `doc` and `derived` have braces."""
    return tuple(
        Column(table, f"{what}_{s}", dtype, unit, doc.format(s), (), missing, derived.format(s, s)) for s in SPECIES
    )
