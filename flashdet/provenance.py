"""Where an output comes from, and the manifest beside it that says so.

`collect` describes a job before it runs; `reproducible` is the part of it that two identical jobs share and that goes
into the output itself; `write_manifest` adds what happened and the checksum of the finished file; `verify` checks a
file against its manifest. Merging and resuming trust nothing else. This module knows no file format.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

from flashdet.columns import DATA_MODEL_VERSION
from flashdet.errors import InputError, OutputError

#: Layout of the manifest.
MANIFEST_VERSION = 1
#: Packages whose version can change a result or a file.
PACKAGES = ("flashdet", "numpy", "numba", "llvmlite", "scipy", "awkward", "uproot", "pyarrow", "pyhepmc", "particle")
#: What differs between two jobs with equal results.
_VOLATILE = ("command", "started")


#: How a file's bytes are summed up. XXH3 finds damage as surely as SHA-256 does and is six times as fast; it does not
#: withstand forgery (ADR 9).
Algorithm = Literal["xxh3-128", "sha256"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
#: Bytes read at a time: they stay in the processor's cache until they are summed up.
_BLOCK = 1 << 18


def checksum_of(path: str | os.PathLike[str], algorithm: Algorithm = "xxh3-128") -> str:
    """Checksum of a file's bytes.

    Parameters
    ----------
    path : path-like
    algorithm : {"xxh3-128", "sha256"}
        What ``xxh128sum`` or ``sha256sum`` print.

    Returns
    -------
    str
        ``algorithm:hexadecimal digits``.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if algorithm == "sha256":
        hasher: Any = hashlib.sha256()
    else:
        import xxhash

        hasher = xxhash.xxh3_128()
    block = memoryview(bytearray(_BLOCK))
    with Path(path).open("rb", buffering=0) as file:
        while n := file.readinto(block):
            hasher.update(block[:n])
    return f"{algorithm}:{hasher.hexdigest()}"


def describe_file(path: str | os.PathLike[str], algorithm: Algorithm = "xxh3-128") -> dict[str, Any]:
    """Name, size and checksum of a file.

    Parameters
    ----------
    path : path-like
        As the user typed it; only the last part is kept.
    algorithm : {"xxh3-128", "sha256"}
        See `checksum_of`.

    Returns
    -------
    dict
        ``name``, ``bytes`` and ``checksum``.
    """
    path = Path(path)
    return {"name": path.name, "bytes": path.stat().st_size, "checksum": checksum_of(path, algorithm)}


def software() -> dict[str, str]:
    """Versions of Python, the platform and the packages that can change a result.

    Returns
    -------
    dict of str to str
    """
    versions = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            if package == "flashdet":
                from flashdet import __version__

                versions[package] = __version__
    return versions


def collect(
    *,
    inputs: Sequence[Mapping[str, Any]],
    card: Mapping[str, Any],
    luts: Mapping[str, str],
    seed: int,
    first_event: int,
    max_events: int | None,
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Describe a job before it runs.

    Parameters
    ----------
    inputs : sequence of mapping
        Sources of events in their order, files as `describe_file` gives them.
    card : mapping
        Name and hash of the resolved card.
    luts : mapping of str to str
        Checksum of each lookup table by its name in the card.
    seed : int
        Seed of all random numbers.
    first_event : int
        Events skipped at the start.
    max_events : int or None
        Events asked for, None for all.
    command : sequence of str, optional
        Command line, ``sys.argv`` if None.

    Returns
    -------
    dict
        Ready for JSON.
    """
    return {
        "software": software(),
        "inputs": [dict(i) for i in inputs],
        "card": dict(card),
        "luts": dict(luts),
        "seed": seed,
        "first_event": first_event,
        "max_events": max_events,
        "command": list(sys.argv if command is None else command),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def reproducible(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what two identical jobs share: no command line, no time.

    Parameters
    ----------
    provenance : mapping
        From `collect`.

    Returns
    -------
    dict
    """
    return {k: v for k, v in provenance.items() if k not in _VOLATILE}


def manifest_path(output: str | os.PathLike[str]) -> Path:
    """Where the manifest of an output lies: ``NAME.json`` beside ``NAME``."""
    output = Path(output)
    return output.with_name(output.name + ".json")


def write_manifest(
    output: str | os.PathLike[str],
    *,
    provenance: Mapping[str, Any],
    n_events: int,
    counters: Mapping[str, Any],
    warnings: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
    algorithm: Algorithm = "xxh3-128",
) -> Path:
    """Write the manifest of a finished output, complete or not at all.

    Parameters
    ----------
    output : path-like
        The finished file.
    provenance : mapping
        From `collect`.
    n_events : int
        Events in the file.
    counters : mapping
        Counters of each stage.
    warnings : sequence of str
        What the user was warned of.
    extra : mapping, optional
        More entries; they may not replace any of these.
    algorithm : {"xxh3-128", "sha256"}
        How the output is summed up, see `checksum_of`.

    Returns
    -------
    pathlib.Path
        The manifest.

    Raises
    ------
    OutputError
        The output is not there or the manifest cannot be written.
    """
    output = Path(output)
    path = manifest_path(output)
    part = path.with_name(path.name + ".part")
    try:
        content = {
            **(extra or {}),
            "manifest_version": MANIFEST_VERSION,
            "data_model": DATA_MODEL_VERSION,
            "output": describe_file(output, algorithm),
            "n_events": n_events,
            "counters": dict(counters),
            "warnings": list(warnings),
            "provenance": dict(provenance),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with part.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"cannot write the manifest: {error.strerror}", str(path)) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return path


def read_manifest(output: str | os.PathLike[str]) -> dict[str, Any]:
    """Manifest of an output.

    Parameters
    ----------
    output : path-like
        The output, not the manifest.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        There is none, it is damaged, or another version of FlashDet laid it out.
    """
    path = manifest_path(output)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["manifest_version"]
        checked = content["output"]["bytes"], content["output"]["checksum"].partition(":")
    except FileNotFoundError:
        raise InputError("there is no manifest beside the file", str(output), hint=f"expected {path.name}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the manifest is damaged: {error}", str(path)) from error
    if version != MANIFEST_VERSION or not all(checked):
        raise InputError(f"manifest version {version!r}; this FlashDet reads {MANIFEST_VERSION}", str(path))
    if checked[1][0] not in ALGORITHMS:
        raise InputError(f"checksum by {checked[1][0]!r}; allowed: {', '.join(ALGORITHMS)}", str(path))
    return dict(content)


def verify(output: str | os.PathLike[str]) -> dict[str, Any]:
    """Check the bytes of an output against its manifest.

    Parameters
    ----------
    output : path-like
        The output, not the manifest.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    InputError
        The file or its manifest is missing, or size or checksum differ.
    """
    output = Path(output)
    manifest = read_manifest(output)
    want = manifest["output"]
    if not output.is_file():
        raise InputError("there is no such file, only its manifest", str(output))
    hint = "the file was damaged or changed after it was written; make it again"
    size = output.stat().st_size
    if size != want["bytes"]:
        raise InputError(f"has {size} bytes, the manifest says {want['bytes']}", str(output), hint)
    found = checksum_of(output, want["checksum"].partition(":")[0])
    if found != want["checksum"]:
        raise InputError(f"the checksum is {found}, the manifest says {want['checksum']}", str(output), hint)
    return manifest
