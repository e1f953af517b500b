"""What docker and podman say of an image, and what crate says of the same: inspect, history, images, templates, words of errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.conftest import IMAGE
from tests.support import host
from tests.support.daemons import Docker
from tests.support.engine import Crate
from tests.support.programs import Account

TEMPLATES = [
    "{{.Id}} {{.Os}}/{{.Architecture}}",
    "{{json .Config.Env}} {{json .Config.Cmd}} {{json .Config.Entrypoint}}",
    "{{.Config.Env}} {{.Config.WorkingDir}}|",
    "{{range .Config.Env}}<{{.}}>{{end}}",
    '{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$i}}{{index (split $e "=") 0}}{{end}}',
    "{{len .RootFS.Layers}} {{index .RootFS.Layers 0}} {{.RootFS.Type}}",
    '{{join .Config.Cmd " "}} {{.Os | upper | printf "%q"}} {{title .Os}}',
    "{{with .Config.Labels}}{{json .}}{{else}}none{{end}}",
    '{{if and (eq .Os "linux") (ne .Architecture "")}}yes{{else}}no{{end}}',
    "{{slice .Id 7 19}} {{truncate .Id 6}} {{pad .Os 1 1}}|",
    '{{printf "%-8s|%8s|%d|%v" .Os .Os (len .Config.Env) .RootFS.Type}}',
    "a{{- /* comment */ -}}b {{print 1 2}} {{not true}} {{or false .Os}} {{println .Os}}",
    '{{index .Config.Labels "no.such.label"}}|',
]
WRONG = ["{{.Id", "{{nope .Id}}", "{{if .Id}}", "{{.Id.Nope}}", "{{end}}", "{{.NoSuchField}}", "{{index .RootFS.Layers 99}}"]


@pytest.fixture(scope="module")
def crate(bin_directory: Path, base: Path, ourselves: Account, images: Any) -> Iterator[Crate]:
    made = Crate(bin_directory / "crate", base / "documents", ourselves)
    made("pull", "-q", images.docker)
    made("tag", images.docker, IMAGE)
    made("untag", IMAGE, images.docker)
    yield made
    made.destroy()


def kinds(value: Any) -> Any:
    """The types of a document, by key."""
    if isinstance(value, dict):
        return {key: kinds(inner) for key, inner in value.items()}
    return [kinds(value[0])] if isinstance(value, list) and value else type(value).__name__


def test_inspect_has_dockers_keys_and_types(docker: Docker, crate: Crate) -> None:
    theirs = json.loads(docker("image", "inspect", IMAGE).out)[0]
    ours = json.loads(crate.out("image", "inspect", IMAGE))[0]
    kept_by_docker_alone = {"Container", "ContainerConfig"}  # what docker's own builder left
    assert set(theirs) - set(ours) <= kept_by_docker_alone
    for key in set(theirs) - kept_by_docker_alone - {"GraphDriver", "Config", "Metadata", "RepoDigests"}:
        assert kinds(ours[key]) == kinds(theirs[key]), key
    for key in ("Id", "Os", "Architecture", "Created", "RootFS", "Author", "Comment", "RepoTags"):
        assert ours[key] == theirs[key], key
    for key, value in theirs["Config"].items():
        assert key in ours["Config"], key
        assert (ours["Config"][key] or None) == (value or None), key


def test_history_is_dockers(docker: Docker, crate: Crate) -> None:
    form = "{{.ID}}|{{.CreatedAt}}|{{.CreatedBy}}|{{.Comment}}|{{.CreatedSince}}"
    for flags in ((), ("--no-trunc",), ("--human=false",)):
        assert (
            crate.out("history", *flags, "--format", form, IMAGE)
            == docker("history", *flags, "--format", form, IMAGE).out.strip()
        )
    assert crate.out("history", "-q", IMAGE) == docker("history", "-q", IMAGE).out.strip()
    ours, theirs = crate.out("history", IMAGE).splitlines(), docker("history", IMAGE).out.splitlines()
    assert ours[0].split() == theirs[0].split()
    assert (
        json.loads(crate.out("history", "--format", "json", IMAGE)).keys()
        == json.loads(docker("history", "--format", "{{json .}}", IMAGE).out).keys()
    )


def test_a_list_has_dockers_columns(docker: Docker, crate: Crate) -> None:
    name = IMAGE.partition(":")[0]
    for flags in (("-q",), ("-q", "--no-trunc"), ("--format", r"table {{.ID}}\t{{.Repository}}\t{{.Tag}}\t{{.CreatedSince}}")):
        assert crate.out("images", *flags, name) == docker("images", *flags, name).out.rstrip("\n"), flags
    ours, theirs = crate.out("images", "--digests", name).splitlines(), docker("images", "--digests", name).out.splitlines()
    assert ours[0].split() == theirs[0].split()
    keys = json.loads(docker("images", "--format", "{{json .}}", name).out).keys()
    assert json.loads(crate.out("images", "--format", "json", name)).keys() == keys


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_print_what_dockers_do(docker: Docker, crate: Crate, template: str) -> None:
    assert crate.out("inspect", "--type", "image", "-f", template, IMAGE) == docker(
        "inspect", "--type", "image", "-f", template, IMAGE
    ).out.removesuffix("\n")


@pytest.mark.parametrize("template", WRONG)
def test_what_is_wrong_for_docker_is_wrong_for_crate(docker: Docker, crate: Crate, template: str) -> None:
    theirs = docker("inspect", "--type", "image", "-f", template, IMAGE, status=None)
    ours = crate("inspect", "--type", "image", "-f", template, IMAGE, status=None)
    assert theirs.status and ours.status == theirs.status
    assert "column" in ours.err


def test_errors_are_in_dockers_words(docker: Docker, crate: Crate) -> None:
    ours, theirs = (program("image", "inspect", "nope:1", status=1) for program in (crate, docker))
    assert ours.out == theirs.out == "[]\n"
    assert "No such image: nope:1" in ours.err and "No such image: nope:1" in theirs.err
    for name in ("first:1", "second:1"):
        crate("tag", IMAGE, name)
        docker("tag", IMAGE, name)
    image_id = crate.out("images", "-q", "--no-trunc", IMAGE).removeprefix("sha256:")
    words = re.compile(
        r"conflict: unable to delete ([0-9a-f]{12}) \(must be forced\) - image is referenced in multiple repositories"
    )
    found = [words.search(program("rmi", image_id, status=1).err) for program in (crate, docker)]
    assert all(found) and len({match[0] for match in found if match}) == 1
    for name in ("first:1", "second:1"):
        assert crate.out("rmi", name) == docker("rmi", name).out.strip() == f"Untagged: {name}"


def test_a_removal_says_what_dockers_says(docker: Docker, crate: Crate) -> None:
    """A container in the way, by name and by id; the words are the same but for the container."""

    def words(text: str) -> str:
        return re.sub(r"[0-9a-f]{12}", "ID", text[text.index("conflict") :].splitlines()[0])

    ours = crate.out("create", "--network", "none", IMAGE, "true")
    theirs = docker("create", "--network", "none", IMAGE, "true").out.strip()
    try:
        image_id = crate.out("images", "-q", IMAGE)
        for name in (IMAGE, image_id):
            assert words(crate("rmi", name, status=1).err) == words(docker("rmi", name, status=1).err)
    finally:
        crate("rm", "-f", ours)
        docker("rm", "-f", theirs)


def test_prune_prints_dockers_lines(docker: Docker, crate: Crate) -> None:
    assert crate.out("image", "prune", "-f") == docker("image", "prune", "-f").out.strip() == "Total reclaimed space: 0B"


def test_podmans_inspect_agrees(crate: Crate, images: Any, ourselves: Account, base: Path) -> None:
    podman = [host.program("podman"), "--root", str(base / "podman-root"), "--runroot", str(base / "podman-run")]
    podman += ["--storage-driver", "vfs"]
    ourselves.run([*podman, "pull", "-q", "--tls-verify=false", images.docker], timeout=120)
    theirs = json.loads(ourselves.run([*podman, "image", "inspect", images.docker]).out)[0]
    ours = json.loads(crate.out("image", "inspect", IMAGE))[0]
    assert f"sha256:{theirs['Id']}" == ours["Id"]
    for key in ("Os", "Architecture", "RootFS", "Author"):
        assert ours[key] == theirs[key], key
    for key, value in theirs["Config"].items():
        assert ours["Config"][key] == value, key
    tree = ourselves.run([*podman, "image", "tree", images.docker]).out.splitlines()
    own = crate.out("image", "tree", IMAGE).splitlines()
    assert own[0] == tree[0]
    assert own[3] == tree[3] == "Image Layers"
    ourselves.run([*podman, "rmi", "-f", images.docker])
