"""The commands about images on real ones, pulled from a registry, as root and as an ordinary user."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support import images as real_images
from tests.support.engine import Crate
from tests.support.programs import Account
from tests.support.registry import Registry
from tests.support.terminal import Session

HEAD = re.compile(r"REPOSITORY +TAG +IMAGE ID +CREATED +SIZE")


@pytest.fixture
def shop(account: Account, bin_directory: Path, base: Path, images: Any, request: pytest.FixtureRequest) -> Iterator[Crate]:
    """A store of its own with busybox in three layers and, as `docker`, in one."""
    crate = Crate(bin_directory / "crate", base / f"shop-{account.uid}", account)
    crate("pull", "-q", images.busybox)
    crate("pull", "-q", images.docker)
    yield crate
    crate.remove_containers()
    crate.destroy()


def identity(crate: Crate, name: str) -> str:
    return crate.out("image", "inspect", "-f", "{{.Id}}", name)


def test_a_list_by_filter_and_format(shop: Crate, images: Any) -> None:
    repository = images.busybox.rpartition(":")[0]
    assert HEAD.match(shop.out("images"))
    assert (
        shop.out("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines().sort() == [images.busybox, images.docker].sort()
    )
    assert len(shop.out("image", "ls", "-q").splitlines()) == 2
    assert shop.out("images", "-q", "--no-trunc", repository + ":docker") == identity(shop, images.docker)
    assert shop.out("images", "--noheading", "--filter", "reference=*/*/busybox:l*").split()[:2] == [repository, "latest"]
    assert shop.out("images", "-q", "--filter", "dangling=true") == ""
    assert shop.out("images", "-q", "--filter", "label=nope") == ""
    rows = [json.loads(line) for line in shop.out("images", "--format", "json", "--digests").splitlines()]
    assert {row["Tag"] for row in rows} == {"latest", "docker"}
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", row["Digest"]) for row in rows)
    assert shop.out("images", "--format", r"table {{.Tag}}\t{{.ID}}").splitlines()[0].split() == ["TAG", "IMAGE", "ID"]
    failed = shop("images", "--format", "{{.Nope}}", status=1)
    assert "column 3: there is no field .Nope" in failed.err


def test_names_are_given_and_taken(shop: Crate, images: Any) -> None:
    image_id = identity(shop, images.docker)
    shop("tag", images.docker, "mine:1", "mine:2")
    assert sorted(shop.out("image", "inspect", "-f", '{{join .RepoTags " "}}', image_id).split()) == sorted(
        ["mine:1", "mine:2", images.docker]
    )
    shop("untag", "mine:1", "mine:2")
    failed = shop("untag", "mine:1", "nope:1", status=1)
    assert "tag not known" in failed.err
    assert "must be forced" in shop("rmi", image_id[:19], status=1).err
    assert shop.out("rmi", "mine:1") == "Untagged: mine:1"
    shop("image", "untag", images.docker)
    assert shop.out("images", "-q", "--no-trunc", "--filter", "dangling=true") == image_id
    lines = shop.out("image", "rm", image_id.removeprefix("sha256:")[:12]).splitlines()
    assert lines[0] == f"Deleted: {image_id}" and len(lines) == 2
    assert shop("rmi", image_id, status=1).err.startswith("crate: error: find image")
    shop("rmi", "--ignore", image_id)
    shop("image", "exists", image_id, status=1)
    shop("image", "exists", images.busybox)


def test_what_a_container_uses_is_refused_in_dockers_words(shop: Crate, images: Any) -> None:
    container = shop.out("create", "--network", "none", images.busybox, "true")
    image_id = identity(shop, images.busybox).removeprefix("sha256:")
    by_name = shop("rmi", images.busybox, status=1).err
    assert (
        f'conflict: unable to remove repository reference "{images.busybox}" (must force) - '
        f"container {container[:12]} is using its referenced image {image_id[:12]}"
    ) in by_name
    by_id = shop("rmi", image_id, status=1).err
    assert (
        f"unable to delete {image_id[:12]} (must be forced) - image is being used by stopped container {container[:12]}" in by_id
    )
    assert "Total reclaimed space: 0B" not in shop.out("image", "prune", "-af")
    assert shop.out("images", "-q", "--no-trunc") == f"sha256:{image_id}", "what is used stays"


def test_prune_asks_and_takes_what_has_no_name(shop: Crate, images: Any) -> None:
    shop("untag", images.docker)
    image_id = identity(shop, shop.out("images", "-q", "--filter", "dangling=true"))
    asked = shop("image", "prune", input="n\n")
    assert asked.out.startswith("WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] ")
    assert shop.out("image", "prune", "-f", "--filter", "until=1970-01-02") == "Total reclaimed space: 0B"
    shop("image", "exists", image_id)
    pruned = shop("image", "prune", input="y\n").out
    assert f"Deleted Images:\ndeleted: {image_id}\n" in pruned
    assert re.search(r"^Total reclaimed space: [0-9.]+[kM]B$", pruned, re.MULTILINE)
    assert shop.out("images", "--format", "{{.Tag}}") == "latest"
    assert f"untagged: {images.busybox}" in shop.out("image", "prune", "-a", "-f")
    assert shop.out("images", "-q") == ""


def test_history_has_the_size_of_every_layer(shop: Crate, images: Any) -> None:
    lines = shop.out("history", images.busybox).splitlines()
    assert re.fullmatch(r"IMAGE +CREATED +CREATED BY +SIZE +COMMENT", lines[0].rstrip())
    assert [line.split()[0] for line in lines[1:]] == [identity(shop, images.busybox)[7:19], "<missing>", "<missing>"]
    sizes = shop.out("history", "--human=false", "--format", "{{.Size}}", images.busybox).split()
    assert sum(map(int, sizes)) == json.loads(shop.out("image", "inspect", images.busybox))[0]["Size"]
    assert shop.out("history", "-q", "--no-trunc", images.busybox).splitlines()[0] == identity(shop, images.busybox)


def test_the_tree_tells_which_layers_are_shared(shop: Crate, images: Any, registry: Registry) -> None:
    layers = real_images.busybox_layers()[:3]
    more = real_images.pack(real_images.tar_of({"more": "more"}), layers[0].path.parent)
    registry.push("library/more", "1", real_images.image([*layers, more], {}))
    name = f"{registry.address}/library/more:1"
    shop("pull", "-q", name)
    text = shop.out("image", "tree", name)
    assert text.splitlines()[1] == f"Tags:     [{name}]"
    rows = text.splitlines()[4:]
    assert len(rows) == 4
    assert all(f"Shared with: [{images.busybox}]" in row for row in rows[:3]) and "Shared" not in rows[3]
    assert f"Top Layer of: [{images.busybox}]" in rows[2] and f"Top Layer of: [{name}]" in rows[3]
    assert shop.out("image", "tree", "--whatrequires", images.busybox).splitlines()[-1] == f"└── {name}"


def test_an_image_is_mounted_read_only_and_kept(shop: Crate, images: Any) -> None:
    if shop.rootless:
        failed = shop("image", "mount", images.busybox, status=1)
        assert "user namespace" in failed.err and "hint: crate unshare" in failed.err
        return
    path = Path(shop.out("image", "mount", images.busybox))
    assert path.is_relative_to(shop.runroot)
    assert (path / "bin/busybox").stat().st_size > 100_000
    with pytest.raises(OSError, match="Read-only"):
        (path / "new").write_text("")
    assert shop.out("image", "mount", images.busybox) == str(path), "it is mounted once"
    assert shop.out("image", "mount") == f"{images.busybox} {path}"
    assert json.loads(shop.out("image", "mount", "--format", "json"))[0]["mountpoint"] == str(path)
    assert f"it is mounted at {path}" in shop("rmi", images.busybox, status=1).err
    image_id = identity(shop, images.busybox).removeprefix("sha256:")
    with open(path / "bin/busybox", "rb"):
        assert "busy" in shop("image", "unmount", images.busybox, status=1).err
    assert shop.out("image", "unmount", images.busybox) == image_id
    assert "not mounted" in shop("image", "umount", images.busybox, status=1).err
    assert shop.out("image", "mount") == ""
    assert list((shop.runroot / "images").iterdir()) == []
    shop("rmi", images.busybox)


def test_an_ordinary_user_mounts_inside_of_unshare(shop: Crate, images: Any) -> None:
    if not shop.rootless:
        assert "ordinary users" in shop("unshare", "true", status=125).err
        return
    program = shop.command()[0]
    script = f"""
        set -e
        path=$({program} image mount {images.busybox})
        stat -c %u:%g "$path/bin/busybox"
        {program} image mount
        ! {program} rmi {images.busybox} 2>&1
        {program} image unmount --all
        id -u
    """
    lines = shop.out("unshare", "sh", "-c", script).splitlines()
    assert lines[0] == "0:0" and lines[-1] == "0"
    assert lines[1].startswith(f"{images.busybox} {shop.runroot}/images/")
    assert "it is mounted at" in lines[2]
    assert shop("unshare", "sh", "-c", "exit 7", status=7)
    assert "not found" in shop("unshare", "nosuchprogram", status=127).err
    shop("rmi", images.busybox)


def test_a_mount_in_a_namespace_that_is_gone_keeps_nothing(shop: Crate, images: Any) -> None:
    if not shop.rootless:
        pytest.skip("needs an ordinary user: root's mounts stay")
    shop("unshare", "sh", "-c", f"{shop.command()[0]} image mount {images.busybox}")
    assert shop.out("image", "mount") == ""
    shop("rmi", images.busybox)


def test_inspect_takes_several_names_and_a_template(shop: Crate, images: Any) -> None:
    result = shop("image", "inspect", images.busybox, "nope", images.docker, status=1)
    assert [document["RepoTags"] for document in json.loads(result.out)] == [[images.busybox], [images.docker]]
    assert result.err == "Error: No such image: nope\n"
    assert shop.out("inspect", "--type", "image", "-f", "{{len .RootFS.Layers}}", images.busybox, images.docker) == "3\n1"
    assert shop("inspect", "-f", "{{", images.busybox, status=64).out == ""
    assert json.loads(shop.out("inspect", "--format", "json", images.busybox))[0]["Os"] == "linux"


def test_a_pull_on_a_terminal_shows_bars_and_leaves_it_clean(
    account: Account, bin_directory: Path, base: Path, nginx: str
) -> None:
    crate = Crate(bin_directory / "crate", base / f"bars-{account.uid}", account)
    try:
        with Session(crate.account, crate.command("pull", nginx), columns=100, env={"NO_COLOR": "1"}) as terminal:
            text = terminal.expect("Status: Downloaded newer image", timeout=60)
        assert f"latest: Pulling from {nginx.rpartition(':')[0]}" in text
        assert re.search(r"Downloading +\[=*>? *\] +[0-9.]+[kM]?B/[0-9.]+MB", text)
        assert "Unpacking" in text and "Pull complete" in text
        assert "\x1b[?" not in text and text.rpartition("\x1b[J")[2].startswith("Digest: ")
    finally:
        crate.destroy()


def test_nobody_who_watches_gets_lines_and_the_quiet_the_name_alone(shop: Crate, images: Any) -> None:
    shop("rmi", images.busybox, images.docker)
    pulled = shop("pull", images.busybox)
    assert "\x1b" not in pulled.out + pulled.err
    assert len(re.findall(r"^[0-9a-f]{12}: Pull complete$", pulled.err, re.MULTILINE)) == 3
    quiet = shop("pull", "-q", images.docker)
    assert (quiet.out, quiet.err) == (f"{images.docker}\n", "")


def test_five_hundred_images_are_listed_without_reading_one(shop: Crate, images: Any) -> None:
    """Their documents are gone, and the list is the same: it comes from index.json alone."""
    host.need_root()
    before = shop.out("images", "--no-trunc", "--digests")
    for blob in (shop.root / "oci/blobs/sha256").iterdir():
        blob.rename(shop.root / blob.name)
    try:
        assert shop.out("images", "--no-trunc", "--digests") == before
    finally:
        for blob in shop.root.iterdir():
            if len(blob.name) == 64:
                blob.rename(shop.root / "oci/blobs/sha256" / blob.name)


def test_a_pull_that_fails_leaves_whole_lines_and_one_error(
    account: Account, bin_directory: Path, base: Path, server: Any
) -> None:
    server.image("app", "1", layers=[real_images.tar_of({"a": b"a" * 100_000})])
    for path, (kind, content) in list(server.documents.items()):
        if "/blobs/" in path and content[:2] == b"\x1f\x8b":
            server.documents[path] = (kind, b"x" * len(content))
    crate = Crate(bin_directory / "crate", base / f"failing-{account.uid}", account)
    try:
        with Session(crate.account, crate.command("pull", f"{server.host}/app:1"), env={"NO_COLOR": "1"}) as terminal:
            text = terminal.expect("crate: error: ", timeout=60)
            assert terminal.wait() == 1
        assert re.search(r"\r\n(\x1b\[J)?crate: error: $", text), "it begins a line of its own"
        assert "\x1b[?" not in text
    finally:
        crate.destroy()


def test_an_interrupted_pull_leaves_the_terminal_clean(account: Account, bin_directory: Path, base: Path, server: Any) -> None:
    server.image("app", "1", layers=[real_images.tar_of({"a": b"a" * 100_000})])

    def hang(request: Any) -> bool:
        if "/blobs/" not in request.path or not server.documents[request.path][1].startswith(b"\x1f\x8b"):
            return False
        server.closing.wait(60)
        return True

    server.fault = hang
    crate = Crate(bin_directory / "crate", base / f"stopped-{account.uid}", account)
    try:
        with Session(crate.account, crate.command("pull", f"{server.host}/app:1"), env={"NO_COLOR": "1"}) as terminal:
            terminal.expect("Downloading", timeout=30)
            terminal.send("\x03")
            text = terminal.rest(timeout=30)
            assert terminal.process.wait(30) == 130, text
        assert "Stopped" in text
        assert "\x1b[?" not in text and "Traceback" not in text
    finally:
        server.closing.set()
        crate.destroy()


def on_a_terminal(crate: Crate, *words: str) -> str:
    """What a terminal gets until the command has ended well, without a mode of it changed."""
    with Session(crate.account, crate.command(*words), columns=100, env={"NO_COLOR": "1"}) as terminal:
        text = terminal.rest(timeout=60)
        assert terminal.process.wait(60) == 0, text
    assert "\x1b[?" not in text
    return text


def test_a_push_and_a_load_show_bars_on_a_terminal(shop: Crate, images: Any, registry: Registry) -> None:
    name = f"{registry.address}/library/pushed-{shop.account.uid}:1"
    shop("tag", images.docker, name)
    pushed = on_a_terminal(shop, "push", name)
    assert f"The push refers to repository [{name.rpartition(':')[0]}]" in pushed
    assert re.search(r"[0-9a-f]{12}: (Pushed|Layer already exists)\x1b\[K\r\n", pushed)
    assert re.match("1: digest: sha256:[0-9a-f]{64} size: [0-9]+\r\n$", pushed.rpartition("\x1b[J")[2])
    archive = str(shop.directory / "saved.tar")
    shop("save", "-q", "-o", archive, images.docker)
    shop("rmi", "-f", identity(shop, images.docker))
    loaded = on_a_terminal(shop, "load", "-i", archive)
    assert re.search(r"[0-9a-f]{12}: (Loaded|Pull complete)", loaded)
    assert loaded.endswith(f"Loaded image: {images.docker}\r\n")


def test_a_save_and_an_import_show_bars_on_a_terminal(shop: Crate, images: Any) -> None:
    archive, layout = str(shop.directory / "saved.tar"), str(shop.directory / "saved")
    saved = on_a_terminal(shop, "save", "-o", archive, images.busybox)
    assert len(set(re.findall(r"([0-9a-f]{12}): Saved\x1b\[K\r\n", saved))) == 3
    assert re.search(r"Saving +\[=*>? *\] +[0-9.]+[kM]?B/[0-9.]+[kM]?B", saved)
    on_a_terminal(shop, "save", "--format", "oci-dir", "-o", layout, images.busybox)
    imported = on_a_terminal(shop, "import", archive, "imported:1")
    assert re.search(r"saved.tar: Importing +\[=*>? *\] +[0-9.]+[kM]?B/[0-9.]+[kM]?B", imported)
    assert re.fullmatch(
        r"saved.tar: Imported\x1b\[K\r\n\x1b\[Jsha256:[0-9a-f]{64}\r\n", imported[imported.rindex("saved.tar: ") :]
    )
    assert re.fullmatch("sha256:[0-9a-f]{64}\r\n", on_a_terminal(shop, "import", "-q", archive, "imported:2"))
    assert on_a_terminal(shop, "save", "-q", "-o", archive, images.busybox) == ""


def test_a_save_and_an_import_that_nobody_watches_say_nothing(shop: Crate, images: Any) -> None:
    archive = str(shop.directory / "saved.tar")
    saved = shop("save", "-o", archive, images.docker)
    assert (saved.out, saved.err) == ("", "")
    imported = shop("import", archive, "imported:1")
    assert re.fullmatch("sha256:[0-9a-f]{64}\n", imported.out) and imported.err == ""


def test_containers_are_shown_by_templates_too(shop: Crate, images: Any) -> None:
    container = shop.out("create", "--name", "made", "--network", "none", images.busybox, "true")
    assert shop.out("ps", "-a", "--format", "{{.Names}} {{.State}} {{.Networks}}") == "made created none"
    assert shop.out("ps", "-a", "--format", r"table {{.ID}}\t{{.Status}}").split() == [
        *("CONTAINER", "ID", "STATUS"),
        *(container[:12], "Created"),
    ]
    assert json.loads(shop.out("ps", "-a", "--no-trunc", "--format", "json"))["ID"] == container
    assert shop.out("inspect", "-f", "{{.State.Status}} {{.HostConfig.NetworkMode}}", "made") == "created none"
