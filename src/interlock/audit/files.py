"""The few things the record asks of a disk, in one class, so that a test can make each of them fail.

Nothing here retries, hides an error or decides what an error means.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

# What a full disk looks like: no blocks, over quota, over the size limit of files.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# What opening says of a name that is no file: a folder, a pipe, a link.
NO_FILE = frozenset({errno.EINVAL, errno.ELOOP, errno.ENXIO, errno.EISDIR})
# What says nothing about the file at hand: this process, or the machine, is short of something.
SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR})

_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class Files:
    """The operating system's files. Every method raises `OSError` and nothing else."""

    def create(self, path: Path) -> int:
        """A new file that was not there before, for this user's eyes only; gives its descriptor."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def open(self, path: Path) -> int:
        """Open for reading; what is no regular file is an error, and never waited for."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "it is not a regular file")
        return fd

    def reopen(self, path: Path) -> int:
        """Open an existing file for reading and writing."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Write at `offset`; gives the number of bytes written, which may be less than asked."""
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def fdatasync(self, fd: int) -> None:
        _fdatasync(fd)

    def allocate(self, fd: int, size: int) -> None:
        """Take `size` bytes of the disk for this file now."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
        else:
            write_all(self, fd, bytes(size), 0)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def make_folder(self, path: Path) -> None:
        """Make the folder and those above it, for this user only, where they are missing."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def sync_folder(self, path: Path) -> None:
        """Put the folder's entries on disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def list(self, path: Path) -> list[str]:
        return os.listdir(path)

    def stat(self, path: Path) -> os.stat_result:
        return os.stat(path, follow_symlinks=False)

    def fstat(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    def free_space(self, path: Path) -> int:
        """Bytes an ordinary user may still write to the file system of `path`."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def lock(self, fd: int) -> None:
        """Hold the file for as long as this process lives; the kernel lets go when it dies."""
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_held(self, fd: int) -> bool:
        """Does another open of this file hold it?"""
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(fd, fcntl.LOCK_UN)
        return False

    def duplicate(self, fd: int) -> int:
        return os.dup(fd)

    def close(self, fd: int) -> None:
        os.close(fd)


def write_all(files: Files, fd: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset`, or raise; after an error any prefix of it may be in the file."""
    written = files.write(fd, data, offset)
    while written < len(data):
        more = files.write(fd, memoryview(data)[written:], offset + written)
        if more <= 0:
            raise OSError(errno.ENOSPC, "the file takes no more bytes")
        written += more


def read_all(files: Files, fd: int, size: int, offset: int) -> bytes:
    """Read `size` bytes at `offset`, fewer only at the end of the file."""
    data = files.read(fd, size, offset)
    if len(data) == size or not data:
        return data
    parts = [data]
    have = len(data)
    while have < size:
        data = files.read(fd, size - have, offset + have)
        if not data:
            break
        parts.append(data)
        have += len(data)
    return b"".join(parts)


def create_anew(files: Files, path: Path) -> int:
    """A new file in the place of what a crash left there; gives its descriptor."""
    try:
        return files.create(path)
    except FileExistsError:
        files.unlink(path)
    return files.create(path)


def write_aside(files: Files, path: Path, data: bytes) -> None:
    """Replace `path` with `data` so that a reader, or a crash, finds the old or the new and nothing between."""
    aside = path.with_name(f".{path.name}.new")
    fd = create_anew(files, aside)
    try:
        write_all(files, fd, data, 0)
        files.fdatasync(fd)
    finally:
        files.close(fd)
    files.rename(aside, path)
    files.sync_folder(path.parent)


def boot_id() -> str:
    """What tells this boot of the machine from the ones before; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
