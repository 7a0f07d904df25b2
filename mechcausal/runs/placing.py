"""A file gets its name once: the first writer wins, and a file that is there is never written over."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from pathlib import Path

# What the kernel answers where a file system has no hard links (FAT, some network and container file systems).
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
_NO_RENAME = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_HERE, _NOREPLACE = -100, 1  # of the system call renameat2


def place(temporary: Path, path: Path) -> bool:
    """Give a finished file its name in one step; return whether it is there, or another writer's file is.

    A hard link is made, which fails if the name is taken. Where the file system has no hard links, the file is renamed by
    `renameat2` with `RENAME_NOREPLACE`, which also fails if the name is taken. Where it has neither, the name is looked
    up and the file renamed: of two writers in the same instant the second one wins, and its file is whole as well.

    Args:
        temporary: The finished file, in the same folder; it may be there afterwards or not.
        path: Its name.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        # A network file system may have made the link, lost its answer, and asked again.
        return path.exists() and temporary.samefile(path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _rename(temporary, path)
    return True


def _rename(temporary: Path, path: Path) -> bool:
    """Rename a file unless the name is taken."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None:
        if call(_HERE, os.fsencode(temporary), _HERE, os.fsencode(path), _NOREPLACE) == 0:
            return True
        number = ctypes.get_errno()
        if number == errno.EEXIST:
            return False
        if number not in _NO_RENAME:
            raise OSError(number, os.strerror(number), str(path))
    if path.exists():
        return False
    temporary.replace(path)
    return True


def keep_names(folder: Path) -> None:
    """Return when the names of the files in a folder are on the disk, as far as its file system can say."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some file systems cannot do this for a folder
            os.fsync(handle)
    finally:
        os.close(handle)
