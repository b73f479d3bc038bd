"""One version as one file, for another machine: a zip of the artifact, its manifest and their hashes.

Reading trusts nothing: exactly the known entries, each within its size, each with the hash that the file says, and the
artifact loads. Nothing is written to a path that the file names, nothing is unpickled, and an artifact that names other
files for its numbers does not load (onnxruntime reads none for bytes). The hashes tell damage and
a changed part; whoever replaces the whole file makes new ones: against that, compare the file's own hash, which
`write_bundle` gives, with what came by another way.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from models.manifest import Manifest
from models.registry import ARTIFACT, MANIFEST, Registry

HASHES = "hashes.json"
FORMAT = 1
MEBIBYTE = 1 << 20
SIZE_LIMITS = {ARTIFACT: 256 * MEBIBYTE, MANIFEST: MEBIBYTE, HASHES: 64 * 1024}
FILE_LIMIT = sum(SIZE_LIMITS.values()) + MEBIBYTE
THE_SAME_TIME = (1980, 1, 1, 0, 0, 0)
"""In every entry: the same version gives the same bytes."""

UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, OverflowError, ValueError, OSError)
"""What Python's zipfile raises at bytes that are no zip, or a broken one."""


class InvalidBundle(ValueError):
    """The file is no bundle, or not what it was. A retry cannot help; export it again."""


class Hashes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the parts are, and the SHA-256 of each by the name of its entry."""

    format: int
    name: str
    version: str
    sha256: dict[str, str]


class Imported(NamedTuple):
    """What a bundle held: it is registered now."""

    manifest: Manifest
    sha256: dict[str, str]


def write_bundle(registry: Registry, name: str, version: str, path: Path) -> str:
    """Write one version to a zip file; the SHA-256 of that file. Raises `ModelNotFound`."""
    artifact, manifest = registry.content(name, version)
    parts = {ARTIFACT: artifact, MANIFEST: manifest}
    hashes = Hashes(FORMAT, name, version, {part: sha256(content).hexdigest() for part, content in parts.items()})
    parts[HASHES] = msgspec.json.format(msgspec.json.encode(hashes), indent=2)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bundle:
        for part, content in parts.items():
            bundle.writestr(zipfile.ZipInfo(part, THE_SAME_TIME), content, zipfile.ZIP_DEFLATED)
    content = packed.getvalue()
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    new.write_bytes(content)
    new.replace(path)
    return sha256(content).hexdigest()


def read_bundle(registry: Registry, path: Path, expected_sha256: str | None = None) -> Imported:
    """Register what a bundle holds, byte by byte under its own version; no alias changes.

    Raises `InvalidBundle` with what is wrong; the registry is then as it was. Raises `ValueError` where the version is
    there with other bytes.
    """
    if path.stat().st_size > FILE_LIMIT:
        raise InvalidBundle(f"bundle {path} has {path.stat().st_size:,} bytes, allowed are {FILE_LIMIT:,}")
    content = path.read_bytes()
    found = sha256(content).hexdigest()
    if expected_sha256 is not None and found != expected_sha256.lower():
        raise InvalidBundle(f"bundle {path} has the SHA-256 {found}, expected is {expected_sha256}; it was replaced")
    parts = _parts(path, content)
    hashes = _hashes(path, parts)
    for part, said in hashes.sha256.items():
        is_now = sha256(parts[part]).hexdigest()
        if is_now != said:
            raise InvalidBundle(
                f"bundle {path}: {part} has the SHA-256 {is_now}, {HASHES} says {said}: it was changed after the "
                "export; export it again"
            )
    try:
        manifest = Manifest.from_json(parts[MANIFEST])
    except msgspec.MsgspecError as error:
        raise InvalidBundle(f"bundle {path}: its manifest is none: {error}; export it again") from None
    if (manifest.name, manifest.version) != (hashes.name, hashes.version):
        raise InvalidBundle(
            f"bundle {path}: the manifest is of {manifest.name!r} {manifest.version!r}, {HASHES} of {hashes.name!r} "
            f"{hashes.version!r}; export it again"
        )
    registry.adopt(parts[ARTIFACT], parts[MANIFEST])
    return Imported(manifest, hashes.sha256)


def _parts(path: Path, content: bytes) -> dict[str, bytes]:
    """The entries: exactly the known names once each, none larger than its limit, whatever the headers say."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            names = [entry.filename for entry in bundle.infolist()]
            if sorted(names) != sorted(SIZE_LIMITS):
                shown = ", ".join(repr(name[:60]) for name in names[:6])
                raise InvalidBundle(
                    f"bundle {path} has {len(names)} entries ({shown}); a bundle has {', '.join(SIZE_LIMITS)}"
                )
            return {name: _read(path, bundle, name, limit) for name, limit in SIZE_LIMITS.items()}
    except InvalidBundle:
        raise
    except UNREADABLE as error:
        raise InvalidBundle(f"bundle {path} cannot be read: {error}; export it again") from None


def _read(path: Path, bundle: zipfile.ZipFile, name: str, limit: int) -> bytes:
    if bundle.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidBundle(f"bundle {path}: {name} is packed in another way than exports are; export it again")
    with bundle.open(name) as entry:
        content = entry.read(limit + 1)
    if len(content) > limit:
        raise InvalidBundle(f"bundle {path}: {name} is larger than {limit:,} bytes, which no model is")
    return content


def _hashes(path: Path, parts: dict[str, bytes]) -> Hashes:
    try:
        hashes = msgspec.json.decode(parts[HASHES], type=Hashes)
    except msgspec.MsgspecError as error:
        raise InvalidBundle(f"bundle {path}: {HASHES} cannot be read: {error}; export it again") from None
    if hashes.format != FORMAT:
        raise InvalidBundle(
            f"bundle {path} has the format {hashes.format}, this code reads {FORMAT}; bring it up to date"
        )
    if set(hashes.sha256) != {ARTIFACT, MANIFEST}:
        raise InvalidBundle(f"bundle {path}: {HASHES} has no hash of {ARTIFACT} or {MANIFEST}; export it again")
    return hashes
