"""Files brought to local scratch: fetched from elsewhere, unpacked from zips, with limits on size and place."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from eespark.errors import CapacityError, FormatError, MissingError
from eespark.io.storage import is_local, local_path, open_filesystem

_COPY_BYTES: Final = 1 << 20


def local_copy(url: str, scratch: str, max_bytes: int) -> Path:
    """Local path of a file, fetched to scratch where it lies elsewhere; whole or not there.

    Raises:
        MissingError: Nothing there.
        CapacityError: Larger than `max_bytes`.
    """
    filesystem, remote = open_filesystem(url)
    if not filesystem.exists(remote):
        raise MissingError(f"needed the label source {url}, found nothing there")
    if is_local(url):
        return Path(local_path(url))
    size = int(filesystem.size(remote) or 0)
    if size > max_bytes:
        raise CapacityError(f"{url}: needed at most {max_bytes} bytes, found {size}; raise max_bytes or bring it nearer")
    stamp = hashlib.sha256(f"{url} {size} {filesystem.info(remote).get('mtime')}".encode()).hexdigest()[:16]
    target = Path(scratch) / stamp / PurePosixPath(remote).name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{uuid.uuid4().hex}.tmp")
        filesystem.get_file(remote, str(temporary))
        os.replace(temporary, target)
    return target


def unpack_zip(path: Path, scratch: str, max_bytes: int) -> Path:
    """Folder in scratch with the members of a zip; whole or not there.

    Raises:
        FormatError: Broken, encrypted, or with a member outside its folder.
        CapacityError: Larger than `max_bytes` once unpacked.
    """
    status = path.stat()
    stamp = hashlib.sha256(f"{path} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:16]
    target = Path(scratch) / stamp
    if target.is_dir():
        return target
    temporary = Path(scratch) / f"{stamp}.{uuid.uuid4().hex}.tmp"
    try:
        with zipfile.ZipFile(path) as archive:
            _unpack_members(archive, path, temporary, max_bytes)
        try:
            os.replace(temporary, target)
        except OSError:
            if not target.is_dir():  # another task was first otherwise
                raise
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise FormatError(f"{path}: needed a whole zip, found a broken one: {error}; fetch it again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _unpack_members(archive: zipfile.ZipFile, path: Path, folder: Path, max_bytes: int) -> None:
    folder.mkdir(parents=True)
    left = max_bytes
    for member in archive.infolist():
        place = PurePosixPath(member.filename.replace("\\", "/"))
        if not place.parts or place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
            raise FormatError(f"{path}: needed members inside the zip's own folder, found {member.filename!r}; do not trust this file")
        if member.flag_bits & 1:
            raise FormatError(f"{path}: needed a zip without a password, found {member.filename!r} encrypted")
        if member.is_dir():
            continue
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as packed, open(target, "wb") as plain:
            # Sizes in the zip's directory may lie: what comes out is counted.
            while part := packed.read(min(_COPY_BYTES, left + 1)):
                left -= len(part)
                if left < 0:
                    raise CapacityError(f"{path}: needed at most {max_bytes} bytes once unpacked, found more; raise max_bytes")
                plain.write(part)
