"""Hostile and odd documents of images, each with what it must be taken for: tests/broken_images has the tables. Attacks stand beside what looks like them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crate_engine import limits
from crate_engine.errors import ImageError, InvalidReference
from crate_engine.oci import layout
from crate_engine.oci.digest import Digest
from crate_engine.oci.image_config import ImageConfig
from crate_engine.oci.manifest import Manifest, parse_document
from crate_engine.reference import Reference
from tests.support import broken_images
from tests.support.broken_images import DIGEST, GOOD, HEX, TYPES, written

LEAST = {"documents": 200, "configs": 400, "references": 400}


@pytest.mark.parametrize("name", LEAST)
def test_no_entry_stands_twice_and_there_are_attacks_and_look_alikes(name: str) -> None:
    entries = broken_images.load(name)
    texts = [json.dumps({key: entry.get(key) for key in ("of", "sent", "set", "remove", "text", "bytes")}) for entry in entries]
    assert len(set(texts)) == len(texts) >= LEAST[name]
    refused = [entry for entry in entries if ("full" not in entry if name == "references" else "error" in entry)]
    assert len(refused) >= LEAST[name] // 2
    assert len(entries) - len(refused) >= 50


def _refusal(entry: dict[str, Any], error: Exception) -> str:
    """Empty where the error is the one of the table."""
    text = str(error)
    expected: str = entry.get("error", "no error")
    same = text.startswith(expected[:-1]) if expected.endswith("…") else text == expected
    return "" if same else f"{broken_images.describe(entry)}\n  expected: {expected}\n  told:     {text}"


def test_a_document_has_one_meaning_or_none() -> None:
    wrong = []
    for entry in broken_images.load("documents"):
        sent = entry.get("sent")
        try:
            document = parse_document(broken_images.document(entry, GOOD[entry["of"]]), TYPES.get(sent or "", sent))
        except ImageError as error:
            wrong.append(_refusal(entry, error))
            assert str(error).isprintable()
            continue
        meaning = "image" if isinstance(document, Manifest) else "index"
        if entry.get("meaning") != meaning:
            wrong.append(f"{broken_images.describe(entry)}: {meaning}, not {entry.get('meaning', entry.get('error'))}")
    assert not any(wrong), "\n".join(filter(None, wrong))


def test_configurations_are_refused_with_the_place_of_what_is_wrong() -> None:
    wrong = []
    for entry in broken_images.load("configs"):
        try:
            ImageConfig.from_json(broken_images.document(entry, broken_images.config()))
        except ImageError as error:
            wrong.append(_refusal(entry, error))
            assert str(error).isprintable()
            continue
        if "error" in entry:
            wrong.append(f"{broken_images.describe(entry)}: it was read, and should not: {entry['error']}")
    assert not any(wrong), "\n".join(filter(None, wrong))


def test_names_mean_what_the_table_says() -> None:
    wrong = []
    for entry in broken_images.load("references"):
        text = written(entry["text"])
        try:
            found: str | None = str(Reference.parse(text))
        except InvalidReference as error:
            found = None
            assert str(error).isprintable()
            assert len(str(error)) < 2000
        expected = written(entry["full"]) if "full" in entry else None
        if found != expected:
            wrong.append(f"{text[:100]!r}: {found}, not {expected}")
        if found is not None:
            assert Reference.parse(Reference.parse(text).familiar) == Reference.parse(text), "its short form is another image"
    assert not wrong, "\n".join(wrong)


# digests in each of the places where documents have them

BAD_DIGESTS = [
    *(
        "",
        "x",
        HEX,
        "sha256:",
        "sha256:../../x",
        "sha256:../../../../etc/passwd",
        f"sha256:{HEX[:63]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
    ),
    *(f"SHA256:{HEX}", f"sha256-{HEX}", f"md5:{HEX[:32]}", f"sha1:{HEX[:40]}", f"sha384:{HEX[:48]}{HEX[:48]}", f"sha512:{HEX}"),
    *(
        f"sha256:{HEX}?x",
        f"sha256:{HEX}#x",
        f"sha256:{HEX}@x",
        f"sha256:{HEX}/..",
        f"sha256:{HEX[:63]}/",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
    ),
    *(
        f"sha256:{HEX}\0",
        f"sha256:{HEX[:63]}٣",
        f"sha256:{HEX[:63]}ａ",
        f"sha256:sha256:{HEX}",
        f"sha256+b64:{HEX}",
        "sha256:%2e%2e%2f",
        "..",
        "/etc",
    ),
]
PLACES = {
    "configuration": ("manifest", "config.digest"),
    "layer": ("manifest", "layers[1].digest"),
    "subject": ("manifest", "subject"),
    "docker's configuration": ("docker manifest", "config.digest"),
    "docker's layer": ("docker manifest", "layers[0].digest"),
    "entry of an index": ("index", "manifests[1].digest"),
    "entry of docker's index": ("docker index", "manifests[0].digest"),
    "subject of an index": ("index", "subject"),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_digest_is_refused_wherever_it_stands(place: str) -> None:
    of, path = PLACES[place]
    for text in (*BAD_DIGESTS, None, 1, [DIGEST], {"sha256": HEX}):
        value = broken_images.descriptor(TYPES["oci manifest"], digest=text) if path == "subject" else text
        with pytest.raises(ImageError, match="digest"):
            parse_document(broken_images.document({"set": {path: value}}, GOOD[of]))
    for text in (DIGEST, f"sha512:{HEX}{HEX}"):
        value = broken_images.descriptor(TYPES["oci manifest"], digest=text) if path == "subject" else text
        parse_document(broken_images.document({"set": {path: value}}, GOOD[of]))


def test_what_is_no_digest_is_refused_in_names_layouts_and_configurations() -> None:
    for text in BAD_DIGESTS:
        with pytest.raises(InvalidReference):
            Reference.parse(f"app@{text}")
        with pytest.raises(ImageError, match="diff_ids"):
            ImageConfig.from_json(broken_images.document({"set": {"rootfs.diff_ids": [DIGEST, text]}}, broken_images.config()))
        with pytest.raises(ImageError, match="digest"):
            layout.parse_index(broken_images.document({"set": {"manifests[0].digest": text}}, broken_images.index()))
        with pytest.raises(ImageError):
            Digest.parse(text)
    assert layout.blob_path(Digest.parse(DIGEST)) == f"blobs/sha256/{HEX}"


def test_addresses_and_content_in_descriptors_are_not_kept() -> None:
    raw = broken_images.document(
        {"set": {"layers[0].urls": ["https://evil.example/sha256:../../x"], "layers[0].data": "eA=="}}, GOOD["manifest"]
    )
    layer = Manifest.from_json(raw).layers[0]
    assert "evil" not in repr(layer)
    assert "eA==" not in repr(layer)


# sizes


LARGE: dict[str, dict[str, Any]] = {
    "a million variables": {"config.Env": [f"A{number}=x" for number in range(500_000)]},
    "labels of 50 MB": {"config.Labels": {"a": "x" * (50 << 20)}},
    "a label of 2 MB": {"config.Labels": {"a": "x" * (2 << 20)}},
    "many labels": {"config.Labels": dict.fromkeys(map(str, range(limits.CONFIG_LIST + 1)), "")},
    "many ports": {
        "config.ExposedPorts": {f"{number % 65535 + 1}/{kind}": {} for number in range(5100) for kind in ("tcp", "udp")}
    },
    "many volumes": {"config.Volumes": {f"/{number}": {} for number in range(limits.CONFIG_LIST + 1)}},
    "many arguments": {"config.Cmd": ["x"] * (limits.CONFIG_LIST + 1)},
    "a large argument": {"config.Cmd": ["x" * (limits.CONFIG_TEXT + 1)]},
    "many layers": {"rootfs.diff_ids": [DIGEST] * (limits.LAYERS + 1)},
    "a long history": {"history": [{}] * (limits.CONFIG_LIST + 1)},
}


@pytest.mark.parametrize("case", LARGE)
def test_configurations_larger_than_the_limits_are_refused(case: str) -> None:
    with pytest.raises(ImageError, match=r"more than|longer than|allowed"):
        ImageConfig.from_json(broken_images.document({"set": LARGE[case]}, broken_images.config()))


def test_large_configurations_within_the_limits_are_read() -> None:
    changes = {
        "config.Env": [f"A{number}=x" for number in range(limits.CONFIG_LIST)],
        "config.Labels": {str(number): "x" * 100 for number in range(limits.CONFIG_LIST)},
        "rootfs.diff_ids": [DIGEST] * limits.LAYERS,
    }
    config = ImageConfig.from_json(broken_images.document({"set": changes}, broken_images.config()))
    assert (len(config.env), len(config.labels), len(config.diff_ids)) == (limits.CONFIG_LIST, limits.CONFIG_LIST, limits.LAYERS)


def test_a_name_that_occurs_twice_among_very_many_is_found_in_time() -> None:
    names = ",".join(f'"{number}":0' for number in range(200_000))
    with pytest.raises(ImageError, match="'199999' occurs twice"):
        parse_document(f'{{{names},"199999":1}}'.encode())
