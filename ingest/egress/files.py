"""Files that a row of device_integrations names: below the operator's folder alone, whoever wrote the row."""

import os
import stat
from pathlib import Path

from ingest.egress.blocking import Blocking
from ingest.errors import Misconfigured

MAX_FILE = 1 << 20
"""Bytes; the system's bundle of authorities has about 220,000."""
MAX_AT_ONCE = 16
WITHIN_S = 5.0


class Files:
    """Reads files below `folder`; without a folder none. Reading has threads of its own and ends within WITHIN_S."""

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._reads = Blocking(MAX_AT_ONCE, WITHIN_S)
        self.blocking = Blocking(MAX_AT_ONCE, WITHIN_S)
        """For other calls that read the machine's own files, such as its certificates."""

    async def read(self, setting: str, name: str) -> str:
        """Return the text of the file that `setting` names, relative to the folder or absolute below it.

        Raises: Misconfigured, naming the setting and the file; nothing of its contents.
        """
        if self._folder is None:
            told = "ROLLCALL_FILES is not set, so no file counts: write the text itself into the setting"
            raise Misconfigured(f"{setting} {name}: {told} {setting.removesuffix('_file')}")
        folder = self._folder
        try:
            return await self._reads.run((folder, name), lambda: read_below(folder, name))
        except TimeoutError:
            raise Misconfigured(f"{setting} {name}: it cannot be read within {WITHIN_S:g} s") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise Misconfigured(f"{setting} {name}: {reason}") from None


def read_below(folder: str, name: str) -> str:
    """Return the text of a regular file of at most MAX_FILE bytes below `folder`, links resolved.

    Opening does not wait, as it would for a FIFO without a writer. Raises: OSError, ValueError.
    """
    root = Path(folder).resolve()
    found = (root / name).resolve()
    if not found.is_relative_to(root):
        raise ValueError("it is not below ROLLCALL_FILES")
    handle = os.open(found, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("it is not a regular file")
        raw = file.read(MAX_FILE + 1)
    if len(raw) > MAX_FILE:
        raise ValueError(f"it is larger than {MAX_FILE} bytes")
    return raw.decode()
