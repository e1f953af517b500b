"""What `./check` decides and says, with small programs standing in for apt-get, ruff, mypy and pytest."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[2] / "check"
SUMMARY = "===== 3 passed, 1 skipped in 0.10s ====="


class Checkout:
    def __init__(self, directory: Path) -> None:
        self.root = directory / "a checkout"
        self.programs = directory / "programs"
        self.calls = directory / "calls"
        self.calls.touch()
        self.root.mkdir()
        shutil.copy(CHECK, self.root)
        for name in ("sh", "mktemp", "rm", "cat"):
            self.program(name, f'exec {shutil.which(name)} "$@"')
        for name in ("ruff", "mypy"):
            self.program(name, f'echo "{name} $*" >> "{self.calls}"', self.root / ".venv/bin")
        self.program("pytest", f'echo "pytest $*" >> "{self.calls}"; echo "{SUMMARY}"', self.root / ".venv/bin")
        self.program("quickstart", f'echo "quickstart $*" >> "{self.calls}"', self.root)
        self.program("apt-get", f'echo "apt-get $*" >> "{self.calls}"')
        self.installed("*")
        self.program("id", "echo 0")

    def program(self, name: str, script: str, directory: Path | None = None) -> None:
        path = (directory or self.programs) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def installed(self, pattern: str) -> None:
        """dpkg-query knows the packages that match a pattern of sh."""
        self.program("dpkg-query", f"for package; do :; done; case $package in {pattern}) printf installed ;; *) exit 1 ;; esac")

    def run(self, *arguments: str, vm: str = "") -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.programs), "CRATE_VM": vm}
        return subprocess.run([self.root / "check", *arguments], env=env, capture_output=True, text=True, timeout=20)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_every_step_runs_in_order_and_the_last_line_is_that_of_pytest(checkout: Checkout) -> None:
    result = checkout.run()
    assert (result.returncode, result.stderr) == (0, "")
    assert checkout.called() == [
        "quickstart --install test,speed",
        "ruff check .",
        "ruff format --check .",
        "mypy --no-error-summary",
        "pytest ",
    ]
    assert result.stdout.splitlines()[-1] == SUMMARY


@pytest.mark.parametrize("arguments", [("-k", "a b", "tests/unit"), ("--", "-k", "a b", "tests/unit")])
def test_arguments_go_to_pytest(checkout: Checkout, arguments: tuple[str, ...]) -> None:
    checkout.run(*arguments)
    assert checkout.called()[-1] == "pytest -k a b tests/unit"


@pytest.mark.parametrize("broken", ["ruff", "mypy"])
def test_a_failing_step_is_named_and_the_tests_run_all_the_same(checkout: Checkout, broken: str) -> None:
    checkout.program(broken, "exit 2", checkout.root / ".venv/bin")
    result = checkout.run()
    assert result.returncode == 1
    assert f"check: not clean: {broken} " in result.stdout
    assert result.stdout.splitlines()[-1] == SUMMARY


def test_the_status_is_that_of_pytest(checkout: Checkout) -> None:
    checkout.program("pytest", "exit 5", checkout.root / ".venv/bin")
    assert checkout.run().returncode == 5


def test_root_installs_only_the_missing_packages_in_one_call(checkout: Checkout) -> None:
    checkout.installed("[!rp]*")
    checkout.run()
    update, install = checkout.called()[:2]
    assert update == "apt-get update -qq"
    assert install == "apt-get install -y -qq --no-install-recommends runc podman passt python3-venv python3-pip"


def test_the_packages_of_the_virtual_machine_are_wanted_only_where_there_is_one(checkout: Checkout) -> None:
    checkout.installed("[!q]*")
    checkout.run()
    assert checkout.called()[1].split()[5:] == ["qemu-user-static"]
    checkout.calls.write_text("")
    checkout.run(vm="/somewhere")
    assert checkout.called()[1].split()[5:] == ["qemu-user-static", "qemu-system-x86", "qemu-utils"]


def test_a_failing_installation_shows_what_apt_said(checkout: Checkout) -> None:
    checkout.installed("[!r]*")
    checkout.program("apt-get", "echo no such mirror; exit 100")
    result = checkout.run()
    assert result.returncode == 1
    assert result.stderr == "no such mirror\ncheck: cannot install packages: what apt-get says stands above\n"
    assert checkout.called() == []


def test_an_ordinary_user_is_told_what_is_missing_and_the_tests_run(checkout: Checkout) -> None:
    checkout.program("id", "echo 1000")
    checkout.installed("[!r]*")
    result = checkout.run()
    assert result.returncode == 0
    assert result.stdout.startswith(
        "check: some tests will be skipped, for want of: runc\n  sudo apt-get install --no-install-recommends runc\n"
    )
    assert checkout.called()[0] == "quickstart --install test,speed"


def test_where_there_is_no_dpkg_the_programs_are_named(checkout: Checkout) -> None:
    (checkout.programs / "dpkg-query").unlink()
    result = checkout.run()
    assert result.stdout.startswith("check: this is not Debian; tests use what they find of: runc crun podman ")
    assert result.returncode == 0
