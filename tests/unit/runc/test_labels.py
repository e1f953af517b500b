"""process.apparmorProfile and selinuxLabel: what is written where, in which process, and what a host without the module is told."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from crate_runc import plan, spec
from crate_runc.config import Bundle
from crate_runc.errors import BundleError, StepError
from crate_runc.host import HostFacts
from crate_runc.kernel import security_modules
from crate_runc.kernel.calls import Call, CallError
from crate_runc.kernel.perform import perform
from crate_runc.steps import labels
from crate_runc.steps.step import LaunchContext

LABEL = "system_u:system_r:container_t:s0:c1,c2"


def written(step: Any, directory: Path) -> dict[str, str]:
    """Execute its calls on a directory that stands for /proc/thread-self/attr."""
    context = LaunchContext()
    context.procfs = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        perform(step.calls(context))
    finally:
        os.close(context.procfs)
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_a_profile_is_written_to_apparmors_own_file(tmp_path: Path) -> None:
    (tmp_path / "apparmor").mkdir()
    for name in ("apparmor/exec", "exec"):
        (tmp_path / name).touch()
    step = labels.plan_launch({"apparmorProfile": "docker-default"})[0]
    assert written(step, tmp_path) == {"apparmor/exec": "exec docker-default", "exec": ""}


def test_a_profile_is_written_to_the_shared_file_where_there_is_no_other(tmp_path: Path) -> None:
    (tmp_path / "exec").touch()
    step = labels.plan_launch({"apparmorProfile": "docker-default"})[0]
    assert written(step, tmp_path) == {"exec": "exec docker-default"}


def test_a_label_is_written_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "exec").touch()
    assert written(labels.plan_launch({"selinuxLabel": LABEL})[0], tmp_path) == {"exec": LABEL}


def test_a_link_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "exec").symlink_to("elsewhere")
    with pytest.raises(CallError) as caught:
        written(labels.plan_launch({"selinuxLabel": LABEL})[0], tmp_path)
    assert caught.value.errno == errno.ELOOP
    assert (tmp_path / "elsewhere").read_text() == ""


def paths(step: Any) -> list[bytes]:
    calls = [item for item in step.calls(LaunchContext()) if isinstance(item, Call) and item.name == "openat"]
    return [call.arguments[1] for call in calls if isinstance(call.arguments[1], bytes)]


def test_exec_writes_on_the_host_before_it_enters() -> None:
    config = spec.make(rootless=False, uid=0, gid=0)
    process = {**config["process"], "apparmorProfile": "p", "selinuxLabel": LABEL}
    steps = plan.make_exec(process, config, HostFacts(), plan.Options(container_id="c"))
    assert [step.describe() for step in steps.begin] == [
        f"make keyrings with the SELinux label {LABEL}",
        "execute the program under the AppArmor profile p",
        f"execute the program with the SELinux label {LABEL}",
    ]
    assert paths(steps.begin[0]) == [b"/proc/thread-self/attr/keycreate\0"]
    assert paths(steps.begin[1]) == [b"/proc/thread-self/attr/apparmor/exec\0", b"/proc/thread-self/attr/exec\0"]
    assert not any("label" in step.describe() or "AppArmor" in step.describe() for step in steps.launch)


def test_create_writes_after_the_gate_and_before_the_filter() -> None:
    config = spec.make(rootless=False, uid=0, gid=0)
    config["process"].update(apparmorProfile="p", noNewPrivileges=True, terminal=False)
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    made = plan.make(Bundle("/b", config, "/b/rootfs"), HostFacts(), plan.Options(container_id="c"))
    texts = [step.describe() for step in made.launch]
    gate, label, seccomp = (
        next(index for index, text in enumerate(texts) if part in text) for part in ("wait for start", "AppArmor", "seccomp")
    )
    assert gate < label < seccomp
    assert any("test whether the AppArmor profile p is loaded" in step.describe() for step in made.setup)


def test_without_labels_nothing_is_planned() -> None:
    config = spec.make(rootless=False, uid=0, gid=0)
    made = plan.make(Bundle("/b", config, "/b/rootfs"), HostFacts(), plan.Options(container_id="c"))
    assert "attr" not in made.render() and "label" not in made.render()


def test_a_host_without_the_module_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security_modules, "has_apparmor", lambda: False)
    monkeypatch.setattr(security_modules, "has_selinux", lambda: False)
    with pytest.raises(BundleError, match=r"^process.apparmorProfile: apparmor: config provided but apparmor not supported"):
        labels.check({"apparmorProfile": "x"})
    with pytest.raises(BundleError, match=r"^process.selinuxLabel: .*selinux is disabled or not supported"):
        labels.check({"selinuxLabel": LABEL})
    labels.check({"apparmorProfile": "", "selinuxLabel": ""})


def test_a_label_that_the_policy_does_not_know_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(label: str) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(security_modules, "has_selinux", lambda: True)
    monkeypatch.setattr(security_modules, "check_context", refuse)
    with pytest.raises(BundleError, match=r"^process.selinuxLabel: nonsense: invalid argument: not a label of the loaded policy"):
        labels.check({"selinuxLabel": "nonsense"})


def test_a_profile_that_is_not_loaded_is_named() -> None:
    step = labels.plan_launch({"apparmorProfile": "nix"})[0]
    assert isinstance(step, labels.BecomeProfile)
    error = step.failure(CallError(Call("write"), errno.ENOENT))
    assert isinstance(error, StepError)
    assert str(error) == (
        "unable to apply apparmor profile nix: write /proc/thread-self/attr/apparmor/exec: no such file or directory; "
        "no such profile is loaded"
    )
