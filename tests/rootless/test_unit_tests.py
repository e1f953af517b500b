"""Unit tests of what is another thing for an ordinary user, run as one when the suite is run by root."""

from __future__ import annotations

import sys

import pytest

from tests.support import host
from tests.support.installation import CHECKOUT
from tests.support.programs import Account

FILES = (
    "engine/test_userns.py",
    "engine/test_mount.py",
    "engine/test_paths.py",
    "engine/test_unpack.py",
    "runc/test_store.py",
)


@pytest.mark.skipif(not host.IS_ROOT, reason="an ordinary user has run them already")
def test_what_depends_on_the_user_holds_for_an_ordinary_one(rootless_user: Account) -> None:
    if rootless_user.run([sys.executable, "-c", ""]).status or rootless_user.run(["ls", str(CHECKOUT / "tests")]).status:
        pytest.skip("needs a checkout and an interpreter that every user may read")
    scratch = rootless_user.temporary / "unit-tests"
    command = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--basetemp={scratch}",
        *(f"tests/unit/{file}" for file in FILES),
    ]
    result = rootless_user.run(command, cwd=CHECKOUT, timeout=240)
    rootless_user.run(["rm", "-rf", str(scratch)], status=0)
    assert result.status == 0, result
    assert "mode is" not in result.out, "user namespaces with a range of ids were tested"
