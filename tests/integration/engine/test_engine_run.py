"""`run`: streams, exit statuses, what the program finds in its container."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from .conftest import IMAGE, Crate, busybox_files, busybox_links, eventually, image_layout

RUN = ("run", "--rm", "--network", "none", IMAGE)


def test_output_and_errors_stay_apart_and_the_status_is_the_programs(crate: Crate) -> None:
    assert crate.both(*RUN, "sh", "-c", "echo out; echo err >&2; exit 7", status=7) == ("out\n", "err\n")


def test_standard_input_is_connected_only_with_interactive(crate: Crate) -> None:
    assert crate("run", "--rm", "-i", "--network", "none", IMAGE, "cat", input="a\nb\n") == "a\nb\n"
    assert crate(*RUN, "cat", input="a\nb\n") == ""


def test_much_data_passes_both_ways_unchanged(crate: Crate) -> None:
    text = "".join(f"{number}\n" for number in range(200_000))
    assert crate("run", "--rm", "-i", "--network", "none", IMAGE, "cat", input=text) == text


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("nosuch",), 127, "executable file not found in $PATH"),
        (("/nosuch",), 127, "no such file or directory"),
        (("/etc",), 126, "permission denied"),
    ],
)
def test_a_program_that_cannot_run_has_dockers_status(crate: Crate, arguments: tuple[str, ...], status: int, text: str) -> None:
    _, errors = crate.both(*RUN, *arguments, status=status)
    assert errors.startswith("crate: error: ")
    assert text in errors


def test_a_signal_that_ends_the_program_is_added_to_128(crate: Crate) -> None:
    crate("run", "-d", "--name", "victim", "--network", "none", IMAGE, "sleep", "100")
    crate("kill", "victim")
    eventually(lambda: crate.state("victim")["ExitCode"] == 137)


def test_the_program_is_process_1_of_its_own_namespaces(crate: Crate) -> None:
    script = "echo $$; cat /proc/1/comm; for n in pid uts ipc mnt cgroup; do readlink /proc/self/ns/$n; done; hostname"
    first, comm, *namespaces, hostname = crate(*RUN, "sh", "-c", script).split()
    assert (first, comm) == ("1", "sh")
    ours = {os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "uts", "ipc", "mnt", "cgroup")}
    assert len(namespaces) == 5
    assert not ours & set(namespaces)
    assert len(hostname) == 12


def test_environment_comes_from_image_and_flags(crate: Crate) -> None:
    out = crate(
        "run",
        "--rm",
        "--network",
        "none",
        "-e",
        "A=1=2",
        "-e",
        "FROM_CALLER",
        "-e",
        "NOT_SET",
        "-e",
        "PATH=/bin:/x",
        IMAGE,
        "env",
    )
    lines = set(out.split("\n"))
    assert {"A=1=2", "FROM_CALLER=yes", "FROM_IMAGE=yes", "PATH=/bin:/x", "HOME=/root", "container=crate"} <= lines
    assert not any(line.startswith(("NOT_SET", "TERM=", "XDG_")) for line in lines)


def test_user_home_and_groups_come_from_the_images_files(crate: Crate) -> None:
    out = crate("run", "--rm", "--network", "none", "--user", "bob", IMAGE, "sh", "-c", "id -u; id -g; id -G; echo $HOME")
    assert out.split("\n")[:4] == ["1000", "1000", "1000 1001", "/home/bob"]
    out = crate("run", "--rm", "--network", "none", "--user", "7:8", IMAGE, "sh", "-c", "id -u; id -G; echo $HOME")
    assert out.split("\n")[:3] == ["7", "8", "/"]
    _, errors = crate.both("run", "--rm", "--network", "none", "--user", "nobody", IMAGE, "true", status=126)
    assert "unable to find user nobody" in errors


def test_capabilities_are_the_default_ones_and_none_for_an_ordinary_user(crate: Crate) -> None:
    script = "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status"
    sets = dict(line.split() for line in crate(*RUN, "sh", "-c", script).splitlines())
    default = f"{0x800405FB:016x}"
    assert sets == {"CapInh:": "0" * 16, "CapPrm:": default, "CapEff:": default, "CapBnd:": default, "CapAmb:": "0" * 16}
    sets = dict(
        line.split() for line in crate("run", "--rm", "--network", "none", "-u", "bob", IMAGE, "sh", "-c", script).splitlines()
    )
    assert sets == {"CapInh:": "0" * 16, "CapPrm:": "0" * 16, "CapEff:": "0" * 16, "CapBnd:": default, "CapAmb:": "0" * 16}


def test_the_working_directory_is_made(crate: Crate) -> None:
    assert crate("run", "--rm", "--network", "none", "-w", "/new/place", IMAGE, "pwd") == "/new/place\n"


def test_mounts_are_the_default_ones(crate: Crate) -> None:
    lines = [line.split() for line in crate(*RUN, "cat", "/proc/mounts").splitlines()]
    kinds = {target: kind for _, target, kind, *_ in lines}
    flags = {target: options.split(",") for _, target, _, options, *_ in lines}
    expected = {
        "/": "overlay",
        "/proc": "proc",
        "/dev": "tmpfs",
        "/dev/pts": "devpts",
        "/dev/shm": "tmpfs",
        "/dev/mqueue": "mqueue",
    }
    assert expected | {"/run": "tmpfs", "/sys": "sysfs"} == {target: kinds[target] for target in (*expected, "/run", "/sys")}
    assert "ro" in flags["/sys"]
    assert all("ro" in flags[target] for target in flags if target.startswith("/sys/fs/cgroup/"))
    devices = crate(*RUN, "sh", "-c", "cd /dev; ls -1; ls -1d /run/kept; touch /run/x").split()
    assert {"null", "zero", "random", "urandom", "full", "tty", "shm", "pts", "ptmx", "/run/kept"} <= set(devices)


def test_kernel_files_are_masked_or_read_only(crate: Crate) -> None:
    assert crate(*RUN, "sh", "-c", "cat /proc/keys /proc/timer_list 2>/dev/null; ls /sys/firmware; echo $?") == "0\n"
    crate(*RUN, "sh", "-c", "echo 1 > /proc/sys/kernel/panic", status=1)


def test_signals_reach_the_program(crate: Crate) -> None:
    script = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    process = crate.popen(*RUN, "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10)[0] == b"got\n"
    assert process.returncode == 9


def test_a_reader_that_goes_away_ends_the_command_like_any_program(crate: Crate) -> None:
    process = crate.popen("run", "--name", "yes", "--network", "none", IMAGE, "yes")
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(timeout=20) == 141
    crate("rm", "-f", "yes")


def test_volumes_show_the_host(crate: Crate) -> None:
    shared = crate.home / "shared"
    shared.mkdir()
    os.chown(shared, crate.uid, crate.gid)
    flags = ("-v", f"{shared}:/shared", "-v", f"{shared}:/fixed:ro", "-v", f"{crate.home}/made:/made")
    crate(
        "run",
        "--rm",
        "--network",
        "none",
        *flags,
        IMAGE,
        "sh",
        "-c",
        "echo hi > /shared/a; cat /fixed/a; ! touch /fixed/b; ls /made",
    )
    assert (shared / "a").read_text() == "hi\n"
    assert (crate.home / "made").is_dir()
    _, errors = crate.both("run", "--rm", "-v", "relative:/x", IMAGE, "true", status=125)
    assert "not an absolute path" in errors


def test_removal_takes_files_of_every_owner(crate: Crate) -> None:
    crate(*RUN, "sh", "-c", "mkdir -p /d/e; chown -R 1000:1000 /d; chmod 700 /d/e; touch /d/e/f; chown 5:5 /d/e/f")
    assert list((crate.root / "trash").iterdir()) == []


def test_files_put_into_the_container_do_not_follow_the_images_links(
    crate: Crate, tmp_path_factory: pytest.TempPathFactory
) -> None:
    canary = crate.home / "canary"
    canary.write_text("untouched")
    os.chown(canary, crate.uid, crate.gid)
    links = busybox_links() | {
        "etc/resolv.conf": str(canary),
        "etc/hosts": f"../../../../../..{canary}",
        "etc/hostname": "/nowhere/else",
        "link": str(crate.home),
    }
    layout = image_layout(crate.home / "layout", busybox_files(), {"Cmd": ["sh"], "Env": ["PATH=/bin"]}, links)
    crate.load(layout, "localhost/hostile:test")
    try:
        assert "localhost" in crate("run", "--rm", "--network", "none", "localhost/hostile:test", "cat", "/etc/hosts")
        _, errors = crate.both(
            "run", "--rm", "--network", "none", "-w", "/link/new", "localhost/hostile:test", "true", status=125
        )
        assert "/link is a link that leads nowhere" in errors
        assert canary.read_text() == "untouched"
        assert not (crate.home / "new").exists()
    finally:
        crate("rmi", "localhost/hostile:test")


def test_hostile_passwd_files_are_an_error_not_a_hang(crate: Crate) -> None:
    files = {name: content for name, content in busybox_files().items() if name != "etc/passwd"}
    config: dict[str, object] = {"Cmd": ["sh"], "Env": ["PATH=/bin"]}
    layout = image_layout(crate.home / "layout-passwd", files, config, busybox_links(), ("etc/passwd",))
    crate.load(layout, "localhost/hostile:passwd")
    try:
        started = time.monotonic()
        _, errors = crate.both("run", "--rm", "--network", "none", "localhost/hostile:passwd", "true", status=126)
        assert "/etc/passwd: not a regular file" in errors
        assert time.monotonic() - started < 5
    finally:
        crate("rmi", "localhost/hostile:passwd")


def test_images_in_use_are_not_removed(crate: Crate) -> None:
    crate("create", "--name", "holder", IMAGE)
    _, errors = crate.both("rmi", IMAGE, status=1)
    assert "container" in errors


def test_caller_that_is_killed_leaves_the_container_running(crate: Crate) -> None:
    process = crate.popen("run", "--name", "alone", "--network", "none", IMAGE, "sh", "-c", "echo ready; exec sleep 100")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.wait()
    assert crate.state("alone")["Status"] == "running"


def test_no_descriptor_of_the_host_reaches_the_program(crate: Crate) -> None:
    with open("/etc/hostname") as file, open(Path("/proc/self/status")) as other:
        process = crate.popen(*RUN, "ls", "/proc/1/fd", pass_fds=(file.fileno(), other.fileno()))
        out = process.communicate(timeout=30)[0].decode().split()
    assert [fd for fd in out if int(fd) > 2] in ([], ["3"])  # 3 is the directory that ls reads


def test_an_image_for_another_platform_is_not_taken_for_the_one_that_was_asked_for(crate: Crate) -> None:
    _, errors = crate.both("run", "--rm", "--pull", "never", "--platform", "linux/riscv64", IMAGE, "true", status=125)
    assert "not for linux/riscv64" in errors
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    crate("run", "--rm", "--pull", "never", "--platform", f"linux/{machine}", "--network", "none", IMAGE, "true")
