"""The half of the public API that is about images: each method a use case in a few verbs, of one store. Engine has them all."""

from __future__ import annotations

from crate_engine.errors import ImageNotFound, UsageError
from crate_engine.store.images import Image, ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from crate_engine.image_history import Step
    from crate_engine.image_prune import Pruned
    from crate_engine.image_tree import Tree
    from crate_engine.oci.descriptor import Descriptor
    from crate_engine.registry.access import Access
    from crate_engine.settings import Settings
    from crate_engine.store.containers import ContainerStore
    from crate_engine.store.listing import Listed
    from crate_engine.store.paths import Store


class ImageCalls:
    """What Engine gives them."""

    store: Store
    settings: Settings
    _containers: ContainerStore
    _warn: Callable[[str], None]

    def access(self, *, authfile: str | None = None, tls_verify: bool | None = None) -> Access:
        """How registries are reached by the settings, and what a flag says for one command."""
        from crate_engine.registry.access import Access

        return Access.of(self.settings, authfile=authfile, tls_verify=tls_verify)

    def pull(
        self,
        image: str,
        *,
        platform: str | None = None,
        policy: str = "always",
        progress: Any = None,
        access: Access | None = None,
    ) -> Image:
        """`policy` is always, missing, newer or never; `progress` a pull.Progress. `localhost/crate/hello` comes with crate, from no registry.

        `oci:DIR`, `oci-archive:FILE` and `docker-archive:FILE`, each with `:NAME` where there are several images, name images in files.
        """
        from crate_engine.archive import places
        from crate_engine.oci.platform import Platform
        from crate_engine.system import userns

        wanted = Platform.parse(platform) if platform else None
        if place := places.parse(image):
            from crate_engine.load import from_place

            return from_place(self.store, place, platform=wanted, user_namespace=userns.choose(), progress=progress)
        from crate_engine.pull import pull

        return pull(
            self.store,
            places.plain(image),
            platform=wanted,
            policy=policy,
            user_namespace=userns.choose(),
            access=access or self.access(),
            progress=progress,
            warn=self._warn,
        )

    def referrers(self, image: str, *, artifact_type: str = "", access: Access | None = None) -> list[Descriptor]:
        """The artifacts in the registry whose subject is what this name stands for there: signatures, attestations …"""
        from crate_engine.pull import referrers

        return referrers(image, artifact_type=artifact_type, access=access or self.access())

    def images(self) -> list[Image]:
        return ImageStore(self.store).all()

    def image(self, name: str) -> Image:
        """By name, also a short one of registries.conf, id, or the beginning of one id only. Raises ImageNotFound."""
        images = ImageStore(self.store)
        try:
            return images.find(name)
        except ImageNotFound:
            from crate_engine.registry import registries_conf

            other = registries_conf.local_name(name, images)
            if other is None:
                raise
            return images.find(other)

    def remove_image(self, name: str, *, force: bool = False) -> list[str]:
        """Returns docker's lines: what was untagged and deleted. Raises ImageInUse while a container was made from it."""
        from crate_engine import image_uses

        return ImageStore(self.store).remove(name, force, lambda: image_uses.of(self.store, self._containers))

    def listed_images(self) -> list[Listed]:
        """All images as index.json has them, however many: without their configurations."""
        from crate_engine.store import listing

        return listing.of(ImageStore(self.store))

    def tag_image(self, name: str, target: str) -> None:
        """Give the image one more name. Raises ImageNotFound, InvalidReference, UsageError where the target has a digest."""
        from crate_engine.reference import Reference

        reference = Reference.parse(target)
        if reference.digest:
            raise UsageError(f"tag image {name}: refusing to create a tag with a digest reference")
        ImageStore(self.store).tag(name, reference)

    def untag_image(self, name: str, targets: Iterable[str] = ()) -> list[str]:
        """Take these names from the image, or all it has; the image stays. Returns the names."""
        from crate_engine.reference import Reference

        gone = ImageStore(self.store).untag(name, [Reference.parse(target) for target in targets])
        return [reference.familiar for reference in gone]

    def prune_images(self, *, all: bool = False, keep: Callable[[Listed], bool] | None = None) -> Pruned:
        """Remove images without a name, or with `all` those that no container uses, but for what `keep` says."""
        from crate_engine import image_prune

        return image_prune.prune(self.store, self._containers, all=all, keep=keep)

    def inspect_image(self, name: str) -> dict[str, Any]:
        """What docker's `inspect` shows of an image, under the same names."""
        from crate_engine import image_inspection

        return image_inspection.document(self.store, self.image(name))

    def image_history(self, name: str) -> list[Step]:
        """How the image came about, the first step first."""
        from crate_engine import image_history

        return image_history.of(self.store, self.image(name))

    def image_tree(self, name: str) -> Tree:
        """The image's layers, and which other images have them."""
        from crate_engine import image_tree

        found = self.image(name)
        images = self.images()
        return image_tree.of(self.store, next((image for image in images if image.id == found.id), found), images)

    def mount_image(self, name: str) -> str:
        """Where the image's files can be read, until `unmount_image`. Raises HostError for an ordinary user outside of a namespace."""
        from crate_engine import image_mounts

        return image_mounts.mount(self.store, self.image(name))

    def unmount_image(self, name: str, *, force: bool = False) -> str:
        """Returns the image's id. Raises ImageError where it is not mounted, unless `force`."""
        from crate_engine import image_mounts

        return image_mounts.unmount(self.store, self.image(name).id, force=force)

    def mounted_images(self) -> dict[str, str]:
        """From ids of images to where they are mounted."""
        from crate_engine import image_mounts

        return image_mounts.all(self.store)
