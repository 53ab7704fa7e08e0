"""The `parquet` format: one record per event with a list of records per table, for arrow, duckdb, polars and awkward.

Every page carries a checksum, and reading checks it: without, a flipped bit reads as another number. Writing and
reading are here; the part file and the buffering are in :mod:`flashdet.io.output`. Needs pyarrow, an optional extra.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import FlashDetError, InputError, OutputError
from flashdet.event import EventBatch, Table
from flashdet.io.output import Writer, header_text
from flashdet.io.setup import OutputSetup, check_alignment

#: Key of the description in the metadata of the schema.
HEADER = b"flashdet"
#: As small as level 3 for floats and 1.4 times as fast (benchmarks/bench_writers.py). LZ4 would save an eighth of the
#: time for files a fifth larger, so both settings of ``output.compression`` are this.
COMPRESSION_LEVEL = 1


class ParquetWriter(Writer):
    """Writes one record per event."""

    format: ClassVar[str] = "parquet"
    suffix: ClassVar[str] = ".parquet"

    def __init__(self, path: Any, *, setup: OutputSetup, overwrite: bool = False) -> None:
        # before the part file exists
        _pyarrow(OutputError, str(path))
        super().__init__(path, setup=setup, overwrite=overwrite)
        self._writer: Any = None

    def _begin(self, header: dict[str, Any], first: EventBatch | None) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self._written = tuple(header["tables"])
        fields = [] if first is None else [_field(first[n], header["tables"][n]) for n in self._written]
        self._schema = pa.schema(fields, metadata={HEADER: header_text(header).encode()})
        self._writer = parquet.ParquetWriter(
            self._file,
            self._schema,
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            # dictionaries of measured floats cost three quarters of the time and make the file larger
            use_dictionary=False,
            # least and largest value of each column of lists tell nothing about an event and cost an eighth of the time
            write_statistics=False,
            write_page_checksum=True,
        )

    def _write_chunk(self, batch: EventBatch) -> None:
        import pyarrow as pa

        check_alignment(batch, self._written, self.setup)
        arrays = [_array(batch[f.name], f) for f in self._schema]
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        self._writer.write_table(table, row_group_size=max(1, batch.n_events))

    def _finish(self) -> None:
        self._writer.close()

    def _abandon(self) -> None:
        if self._writer is not None:
            # otherwise the garbage collector would write the footer into the closed file
            self._writer.is_open = False


def read_parquet(path: str) -> tuple[EventBatch, dict[str, Any]]:
    """Read all events of a file and check its pages.

    Parameters
    ----------
    path : str

    Returns
    -------
    batch : EventBatch
    header : dict
        Description of the file.

    Raises
    ------
    InputError
        pyarrow is missing, or FlashDet did not write the file.
    """
    header = read_parquet_header(path)
    from pyarrow import parquet

    with parquet.ParquetFile(path, page_checksum_verification=True) as file:
        content = file.read().combine_chunks()
    batch = EventBatch({}, tuple(header["weight_names"]))
    for name, columns in header["tables"].items():
        batch.add(_table(name, columns, content[name].combine_chunks()))
    return batch, header


def read_parquet_header(path: str) -> dict[str, Any]:
    """Describe a file without reading its events.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict

    Raises
    ------
    InputError
        pyarrow is missing, or FlashDet did not write the file.
    """
    _pyarrow(InputError, path)
    from pyarrow import parquet

    metadata = parquet.read_schema(path).metadata or {}
    if HEADER not in metadata:
        raise InputError("was not written by FlashDet", path)
    header: dict[str, Any] = json.loads(metadata[HEADER])
    return header


def _pyarrow(error: type[FlashDetError], where: str) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise error("parquet needs pyarrow", where, hint="pip install 'flashdet[parquet]'") from None


def _field(table: Table, columns: dict[str, Any]) -> Any:
    """Field of the schema for one table, with unit and sentence of each column."""
    import pyarrow as pa

    fields = []
    for column, values in table.items():
        kind = pa.from_numpy_dtype(values.dtype)
        if values.ndim > 1:
            kind = pa.list_(kind, values.shape[1])
        about = {k: columns[column][k] for k in ("unit", "doc")}
        fields.append(pa.field(column, kind, nullable=False, metadata=about))
    record = pa.struct(fields)
    if table.name == "event":
        return pa.field(table.name, record, nullable=False)
    return pa.field(table.name, pa.large_list(pa.field("item", record, nullable=False)), nullable=False)


def _array(table: Table, field: Any) -> Any:
    import pyarrow as pa

    record = field.type if table.name == "event" else field.type.value_type
    children = []
    for column, child in zip(table, record, strict=True):
        values = pa.array(table[column].reshape(-1))
        if table[column].ndim > 1:
            values = pa.FixedSizeListArray.from_arrays(values, type=child.type)
        children.append(values)
    rows = pa.StructArray.from_arrays(children, fields=list(record))
    if table.name == "event":
        return rows
    return pa.LargeListArray.from_arrays(pa.array(table.offsets), rows, type=field.type)


def _table(name: str, columns: dict[str, Any], content: Any) -> Table:
    """Table from an arrow array of records, or of lists of records."""
    if name == "event":
        offsets, rows = np.arange(len(content) + 1, dtype=np.int64), content
    else:
        offsets, rows = content.offsets.to_numpy(zero_copy_only=False).astype(np.int64), content.flatten()
    arrays: dict[str, NDArray[Any]] = {}
    for column, about in columns.items():
        values = rows.field(column)
        if about["shape"]:
            values = values.flatten()
        arrays[column] = np.array(values.to_numpy(zero_copy_only=False)).reshape(-1, *about["shape"])
    return Table(name, offsets - offsets[0], arrays)
