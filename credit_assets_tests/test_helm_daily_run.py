"""The daily run of `helm test`: what the chart has its pod do, done here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from credit_assets_tests.support.chart import one, rendered

pytest_plugins = ("credit_assets_tests.support.chart",)


@pytest.fixture(scope="module")
def container(own: Path) -> dict[str, Any]:
    spec = one(rendered(own, {}), "Job", "credit-assets-daily-run")["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    (found,) = spec["containers"]
    return dict(found)


def test_it_is_given_nothing_of_the_installation(container: dict[str, Any]) -> None:
    assert "envFrom" not in container
    assert all("valueFrom" not in env for env in container["env"])
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
    assert all(env["value"].startswith("/tmp") for env in container["env"] if env["name"].endswith("HOME"))


@pytest.mark.slow
def test_the_command_of_the_pod_makes_a_day(container: dict[str, Any], tmp_path: Path) -> None:
    # The command as it is in the image, by the code of this checkout.
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "credit-assets").write_text(f'#!/bin/sh\nexec {sys.executable} -m credit_assets.cli.main "$@"\n')
    (bin_ / "credit-assets").chmod(0o755)
    (bin_ / "python").symlink_to(sys.executable)
    # Nothing of this machine's environment but where programs and code are; the pod's /tmp is a folder here.
    environment = {env["name"]: env["value"].replace("/tmp", str(tmp_path)) for env in container["env"]}
    environment |= {"PATH": f"{bin_}:/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(container["args"], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "a day was made: " in done.stdout
