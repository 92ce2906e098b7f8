"""What steps print, kept as files for the UI and shown on the terminal as well.

Belongs here: how output reaches its file. Where it lies and how it is read is Dagster's own class (the parent);
`dagster.yaml` names this one (`credit_assets.instance.home` writes it).

Dagster's default follows each file with `tail` and watches each `tail` with another Python interpreter: four processes
a step, two of them interpreters, which was half of what a step in a process of its own cost. Here `tee` does both: it
ends by itself when the last writer has ended, however that ended, so nobody need watch it.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from dagster._config import StringSource
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._serdes import ConfigurableClassData
from dagster._utils import ensure_file, touch_file

# A process that a step left behind may hold its output open; the step does not wait for it.
_LAST_LINES_SECONDS = 5


class EmbeddedComputeLogManager(LocalComputeLogManager):
    """Compute log manager for one machine. Config: `dagster_home`, whose folder `storage` takes the logs."""

    @classmethod
    def config_type(cls) -> Any:
        return {"dagster_home": StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> LocalComputeLogManager:
        return cls(base_dir=os.path.join(config_value["dagster_home"], "storage"), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        tee = shutil.which("tee")
        if tee is None:
            with super().capture_logs(log_key) as context:
                yield context
            return
        out, err = (
            self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind])
            for kind in (ComputeIOType.STDOUT, ComputeIOType.STDERR)
        )
        with _copied(sys.stdout, out, tee), _copied(sys.stderr, err, tee):
            yield CapturedLogContext(log_key)
        touch_file(self.complete_artifact_path(log_key))


@contextmanager
def _copied(stream: TextIO, path: str, tee: str) -> Iterator[None]:
    """Everything written to the stream's file descriptor goes into the file too, by whichever library."""
    ensure_file(path)
    try:
        descriptor = stream.fileno()
    except (io.UnsupportedOperation, AttributeError, ValueError):
        # Replaced by something without a descriptor, as test runners do: there is nothing to copy.
        yield
        return
    stream.flush()
    before = os.dup(descriptor)
    # In a session of its own: an interrupt from the terminal must not end it before the step has said its last.
    # Signals as they are in Python, which ignores a broken pipe: the file goes on where the terminal is gone.
    copier = subprocess.Popen(
        [tee, "-a", path], stdin=subprocess.PIPE, stdout=before, start_new_session=True, restore_signals=False
    )
    assert copier.stdin is not None
    os.dup2(copier.stdin.fileno(), descriptor)
    copier.stdin.close()
    try:
        yield
    finally:
        stream.flush()
        os.dup2(before, descriptor)
        os.close(before)
        try:
            copier.wait(_LAST_LINES_SECONDS)
        except subprocess.TimeoutExpired:
            # Not asked but killed: a process started in the background ignores what would ask, and so do its children.
            # It keeps nothing back.
            copier.kill()
            copier.wait()
