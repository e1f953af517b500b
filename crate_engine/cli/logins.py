"""`crate login` and `crate logout`, in docker's and podman's lines."""

from __future__ import annotations

import sys

from crate_engine.errors import InvalidReference, RegistryError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.cli.session import Session
    from crate_engine.registry.auth import Credentials

_DEFAULT = "docker.io"
_LONGEST = 64 << 10  # characters of a password: tokens are long


def login(
    session: Session,
    *,
    registry: str | None,
    username: str | None,
    password: str | None,
    password_stdin: bool,
    authfile: str | None,
    get_login: bool,
    tls_verify: bool | None,
) -> int:
    from crate_engine.registry import credentials, logins

    key = _key(registry)
    host, _, repository = key.partition("/")
    known = credentials.find(host, repository, authfile=authfile if authfile is None or get_login else _existing(authfile))
    if get_login:
        if known is None:
            raise RegistryError(f"get the login of {key}: there is none", hint=f"crate login {key}")
        print(known.username or "<token>")
        return 0
    asked = username is not None or password is not None or password_stdin
    wanted = known if known is not None and not asked else _read(session, username, password, password_stdin)
    with session.engine() as engine:
        access = engine.access(authfile=authfile, tls_verify=tls_verify)
    logins.verify(host, wanted, access)
    if wanted is known:
        print(f"Existing credentials are valid. Already logged in to {key}")
        return 0
    where = logins.save(key, wanted, authfile)
    sys.stderr.write(f"The login is kept in {where}\n")
    print("Login Succeeded")
    return 0


def logout(session: Session, *, registry: str | None, authfile: str | None, all: bool) -> int:
    from crate_engine.registry import credentials, logins

    if all:
        if registry is not None:
            raise UsageError("logout: --all takes no registry")
        logins.forget_all(authfile)
        print("Removed login credentials for all registries")
        return 0
    key = _key(registry)
    if logins.forget(key, authfile):
        print(f"Removed login credentials for {key}")
        return 0
    host, _, repository = key.partition("/")
    if credentials.find(host, repository) is not None and authfile is None:
        raise RegistryError(
            f"log out of {key}: the login is kept by another program or for more than that", hint=f"docker logout {key}"
        )
    raise RegistryError(f"log out of {key}: there is no login for it")


def _key(registry: str | None) -> str:
    """A registry, or a registry and a path in it, as they stand in files of logins."""
    from crate_engine.reference import Reference

    text = (registry or _DEFAULT).removeprefix("https://").removeprefix("http://").rstrip("/")
    if text in ("index.docker.io", "index.docker.io/v1", "registry-1.docker.io"):
        return _DEFAULT
    host, _, path = text.partition("/")
    port = "" if "." in host or ":" in host or host == "localhost" else ":443"  # else it would be a part of a path on docker.io
    try:
        checked = Reference.parse(f"{host}{port}/{path or 'x'}")
    except InvalidReference:
        checked = None
    if checked is None or checked.tag != "latest" or checked.digest is not None or path.endswith(":latest"):
        raise UsageError(
            f"registry {text!r}: must be a host with an optional port, and at most the beginning of a name behind it"
        )
    return text


def _existing(authfile: str) -> str | None:
    """A file that is still to be made has no login."""
    import os

    return authfile if os.path.exists(authfile) else os.devnull


def _read(session: Session, username: str | None, password: str | None, from_stdin: bool) -> Credentials:
    """From the flags, standard input, or the person at the terminal."""
    from crate_engine.registry.auth import Credentials

    if from_stdin:
        if password is not None:
            raise UsageError("login: --password and --password-stdin exclude each other")
        if not username:
            raise UsageError("login: --password-stdin needs --username")
        password = sys.stdin.read(_LONGEST + 1).removesuffix("\n").removesuffix("\r")
        if len(password) > _LONGEST:
            raise UsageError(f"login: the password on standard input has more than {_LONGEST} characters")
    elif password is not None:
        session.warn("a password in the command line can be seen by other users and stays in the history: use --password-stdin")
    username = username or _ask("Username: ")
    password = password if password is not None else _ask("Password: ", hidden=True)
    if not password or ":" in username or not (username + password).isprintable():
        raise UsageError("login: the user name and the password must be printable and not empty, the name without a colon")
    return Credentials(username, password)


def _ask(prompt: str, *, hidden: bool = False) -> str:
    if not sys.stdin.isatty():
        raise UsageError(
            f"login: {prompt.strip(': ').lower()}: there is no terminal to ask on", hint="use --username and --password-stdin"
        )
    if hidden:
        import getpass

        return getpass.getpass(prompt)
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().strip()
