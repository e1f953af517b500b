"""From the first document of a name to one image's documents, through indexes (image-spec image-index.md); where they come from, the caller knows.

Registries and files are read alike here: what one refuses, the other does not accept.
"""

from __future__ import annotations

from crate_engine import limits
from crate_engine.errors import ImageError, PlatformNotOffered
from crate_engine.intake import Resolved
from crate_engine.oci.manifest import Index, Manifest, parse_document
from crate_engine.oci.platform import Platform, nearest, unknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crate_engine.oci.descriptor import Descriptor
    from crate_engine.oci.digest import Digest

    Read = Callable[[Descriptor], bytes]
    """A document of this digest; the size is checked here where it has not been."""


def resolve(
    raw: bytes, media_type: str | None, digest: Digest, *, manifest: Read, config: Read, platform: Platform | None, what: str
) -> Resolved:
    """`raw` is what the name stands for, `what` begins the text of errors. Raises ImageError, PlatformNotOffered."""
    resolved = digest
    document = _parsed(raw, media_type, what)
    seen = {digest}
    while isinstance(document, Index):
        entry = select(document.manifests, platform or Platform.host(), what)
        digest = entry.digest
        if digest in seen or len(seen) > limits.INDEX_NESTING:
            raise ImageError(f"{what}: its indexes contain each other, or are nested too deeply")
        seen.add(digest)
        raw = manifest(entry)
        if len(raw) != entry.size:
            raise ImageError(f"{what}: manifest {digest} has {len(raw)} bytes, not the {entry.size} its index says")
        document = _parsed(raw, entry.media_type, what)
    return Resolved.of(document, raw, config(document.config), original=digest, resolved=resolved, what=what, platform=platform)


def _parsed(raw: bytes, media_type: str | None, what: str) -> Manifest | Index:
    try:
        return parse_document(raw, media_type)
    except ImageError as error:
        raise ImageError(f"{what}: {error}", hint=error.hint) from error


def select(offered: Sequence[Descriptor], wanted: Platform, what: str) -> Descriptor:
    """The entry of an index that suits a platform best. Raises PlatformNotOffered, naming those that there are."""
    entries = [one for one in offered if not unknown(one.platform) and "vnd.docker.reference.type" not in one.annotations]
    place = nearest(wanted, [entry.platform for entry in entries])
    if place is not None:
        return entries[place]
    unnamed = [entry for entry in entries if entry.platform is None and not entry.artifact_type]
    if len(unnamed) == 1 and all(entry.artifact_type for entry in entries if entry not in unnamed):
        return unnamed[0]  # its configuration tells, and is checked
    names = ", ".join(sorted({str(entry.platform) for entry in entries if entry.platform})) or "none"
    raise PlatformNotOffered(f"{what}: there is no image for {wanted}", hint=f"offered are: {names}; choose one with --platform")
