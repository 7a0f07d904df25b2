"""A disk that is full, for one test: no file may grow beyond a few bytes, as the system itself sees to."""

import resource
from contextlib import contextmanager


@contextmanager
def small_files(size):
    """Refuse every write that makes a file larger than `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
