"""What the command line says beside the bundle, for create, run and exec."""

from __future__ import annotations


class Options:
    """What the command line says beside the bundle. Only values that marshal can carry."""

    __slots__ = (
        "cgroup_driver",
        "config_file",
        "console_socket",
        "container_id",
        "detach",
        "keep",
        "listen_fds",
        "no_new_keyring",
        "no_pivot",
        "no_subreaper",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "rootless",
        "tty",
    )

    def __init__(
        self,
        *,
        container_id: str = "",
        cgroup_driver: str = "cgroupfs",
        detach: bool = False,
        config_file: str = "",
        console_socket: str = "",
        pid_file: str = "",
        pidfd_socket: str = "",
        preserve_fds: int = 0,
        rootless: bool | None = None,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        keep: bool = False,
        no_subreaper: bool = False,
        tty: bool = False,
        listen_fds: int = 0,
    ) -> None:
        self.container_id = container_id
        self.cgroup_driver = cgroup_driver
        self.detach = detach
        self.config_file = config_file
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.pidfd_socket = pidfd_socket
        self.preserve_fds = preserve_fds
        self.rootless = rootless
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.keep = keep
        self.no_subreaper = no_subreaper
        self.tty = tty
        self.listen_fds = listen_fds
