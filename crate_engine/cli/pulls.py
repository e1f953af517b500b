"""What asks a registry about images: `crate pull` and `crate image referrers`."""

from __future__ import annotations

import sys

from crate_engine.cli import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.cli.session import Session
    from crate_engine.engine import Engine


def pull(
    session: Session,
    *,
    image: str,
    platform: str | None,
    quiet: bool,
    pull: str | None,
    authfile: str | None,
    tls_verify: bool | None,
) -> int:
    """Layers under way go to standard error unless it is watched; digest, status and name are the result."""
    from crate_engine.archive import places
    from crate_engine.cli.progress import follow

    if places.parse(image):
        return _pull_from_files(session, image, platform, quiet=quiet)
    image = places.plain(image)

    with session.engine() as engine:
        before = _known_id(engine, image)
        with follow(sys.stdout if sys.stdout.isatty() else sys.stderr, quiet=quiet) as progress:
            pulled = engine.pull(
                image,
                platform=platform or session.settings.platform,
                policy=pull or "always",
                progress=progress,
                access=engine.access(authfile=authfile, tls_verify=tls_verify),
            )
    name = progress.reference or _full_name(image)
    if not quiet:
        if progress.digest:
            print(f"Digest: {progress.digest}")
        known = "Image is up to date" if pulled.id == before else "Downloaded newer image"
        print(f"Status: {known} for {name}")
    print(name)
    return 0


def _pull_from_files(session: Session, image: str, platform: str | None, *, quiet: bool) -> int:
    """Prints the id, as podman does: the image has the names that the files give it, if any."""
    from crate_engine.cli.progress import follow

    with session.engine() as engine, follow(sys.stdout if sys.stdout.isatty() else sys.stderr, quiet=quiet) as progress:
        pulled = engine.pull(image, platform=platform or session.settings.platform, progress=progress)
    print(pulled.id)
    return 0


def referrers(
    session: Session,
    *,
    image: str,
    artifact_type: str | None,
    format: str | None,
    no_trunc: bool,
    authfile: str | None,
    tls_verify: bool | None,
) -> int:
    """Signatures, attestations, lists of software and what else says something about an image."""
    import json

    with session.engine() as engine:
        access = engine.access(authfile=authfile, tls_verify=tls_verify)
        found = engine.referrers(image, artifact_type=artifact_type or "", access=access)
    if format == "json":
        for one in found:
            print(json.dumps(one.to_object(), ensure_ascii=False))
        return 0
    rows = [
        (
            str(one.digest) if no_trunc else f"{one.digest.algorithm}:{one.digest.hex[:12]}",
            render.display(one.artifact_type or "<none>"),
            render.display(one.annotations.get("org.opencontainers.image.created", "")),
            render.size(one.size),
        )
        for one in found
    ]
    sys.stdout.write(render.table(("DIGEST", "ARTIFACT TYPE", "CREATED", "SIZE"), rows))
    return 0


def _known_id(engine: Engine, name: str) -> str | None:
    from crate_engine.errors import ImageNotFound

    try:
        return engine.image(name).id
    except ImageNotFound:
        return None


def _full_name(image: str) -> str:
    from crate_engine.reference import Reference

    return str(Reference.parse(image))
