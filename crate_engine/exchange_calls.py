"""The public API's calls that exchange images with files and registries; Engine has them. Each is a use case of a module of its own."""

from __future__ import annotations

from crate_engine.image_calls import ImageCalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from crate_engine.load import Loaded
    from crate_engine.push import Pushed
    from crate_engine.registry.access import Access
    from crate_engine.store.images import Image


class ExchangeCalls(ImageCalls):
    """Beside the calls about images that are here already."""

    def save(
        self,
        images: Iterable[str],
        *,
        format: str = "docker-archive",
        output: str | None = None,
        stream: Any = None,
        progress: Any = None,
    ) -> None:
        """To the file or directory `output`, or an archive to the binary `stream`. Formats: docker-archive, oci-archive, oci-dir."""
        from crate_engine.save import save

        save(self.store, list(images), kind=format, output=output, stream=stream, find=self.image, progress=progress)

    def load(self, path: str | None = None, *, platform: str | None = None, progress: Any = None) -> Iterator[Loaded]:
        """Every image of a docker archive, OCI archive or OCI layout, as each is whole; None: of standard input."""
        from crate_engine import load
        from crate_engine.oci.platform import Platform
        from crate_engine.system import userns

        wanted = Platform.parse(platform) if platform else None
        with load.opened(self.store, path) as files:
            yield from load.load(self.store, files, platform=wanted, user_namespace=userns.choose(), progress=progress)

    def import_archive(
        self,
        source: str,
        name: str | None = None,
        *,
        changes: Iterable[str] = (),
        message: str = "",
        platform: str | None = None,
        access: Access | None = None,
        progress: Any = None,
    ) -> Image:
        """An image of one layer from the archive of a root file system: a path, a web address, or `-` for standard input."""
        from crate_engine.oci.platform import Platform
        from crate_engine.rootfs_import import bring_in
        from crate_engine.system import userns

        return bring_in(
            self.store,
            source,
            name,
            changes=list(changes),
            message=message,
            platform=Platform.parse(platform) if platform else None,
            user_namespace=userns.choose(),
            access=access or self.access(),
            progress=progress,
        )

    def export(self, name: str, *, output: str | None = None, stream: Any = None) -> None:
        """A container's root as a tar archive, to the file `output` or the binary `stream`."""
        from crate_engine import root_files
        from crate_engine.archive.writing import OutputFile
        from crate_engine.system import userns

        record, namespace = self._containers.find(name), userns.choose()
        if output is None:
            root_files.export(self.store, record, stream, user_namespace=namespace)
            stream.flush()
            return
        with OutputFile(output) as file:
            root_files.export(self.store, record, file, user_namespace=namespace)

    def commit(
        self,
        container: str,
        name: str | None = None,
        *,
        message: str = "",
        author: str = "",
        changes: Iterable[str] = (),
        pause: bool = True,
    ) -> Image:
        """An image of the container's image and what the container changed."""
        from crate_engine.committing import commit
        from crate_engine.system import userns

        record = self._containers.find(container)
        return commit(
            self.store,
            record,
            name,
            message=message,
            author=author,
            changes=list(changes),
            pause=pause,
            user_namespace=userns.choose(),
            warn=self._warn,
        )

    def push(
        self,
        image: str,
        destination: str | None = None,
        *,
        compression: str | None = None,
        level: int | None = None,
        recompress: bool = False,
        progress: Any = None,
        access: Access | None = None,
    ) -> Pushed:
        """To the registry of its name or of `destination`, which may also be `oci:DIR`, `oci-archive:FILE` or `docker-archive:FILE`."""
        from crate_engine import push

        return push.push(
            self.store,
            lambda: self.image(image),
            push.target(image, destination, self.image(image)),
            compression=push.Compression(compression, level, recompress),
            access=access or self.access(),
            progress=progress,
        )
