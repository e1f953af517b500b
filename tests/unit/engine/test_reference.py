"""Image references: docker's grammar and short names."""

from __future__ import annotations

import random

import pytest

from crate_engine.errors import InvalidReference
from crate_engine.oci.digest import Digest
from crate_engine.reference import Reference

HEX = "0123456789abcdef" * 4
SHA = f"sha256:{HEX}"
HUB = "docker.io"

# text, registry, repository, tag, familiar text
VALID = [
    ("nginx", HUB, "library/nginx", "latest", "nginx:latest"),
    ("nginx:1.25", HUB, "library/nginx", "1.25", "nginx:1.25"),
    ("library/nginx", HUB, "library/nginx", "latest", "nginx:latest"),
    ("user/app", HUB, "user/app", "latest", "user/app:latest"),
    ("docker.io/nginx", HUB, "library/nginx", "latest", "nginx:latest"),
    ("docker.io/library/nginx", HUB, "library/nginx", "latest", "nginx:latest"),
    ("index.docker.io/nginx", HUB, "library/nginx", "latest", "nginx:latest"),
    ("docker.io/user/app:v1", HUB, "user/app", "v1", "user/app:v1"),
    ("a/b/c/d", HUB, "a/b/c/d", "latest", "a/b/c/d:latest"),
    ("library/a/b", HUB, "library/a/b", "latest", "library/a/b:latest"),
    ("localhost/x", "localhost", "x", "latest", "localhost/x:latest"),
    ("localhost:5000/x", "localhost:5000", "x", "latest", "localhost:5000/x:latest"),
    ("localhost:5000/x:y", "localhost:5000", "x", "y", "localhost:5000/x:y"),
    ("host:5000/a/b:c", "host:5000", "a/b", "c", "host:5000/a/b:c"),
    ("quay.io/a/b", "quay.io", "a/b", "latest", "quay.io/a/b:latest"),
    ("QUAY.IO/a", "QUAY.IO", "a", "latest", "QUAY.IO/a:latest"),
    ("MyHost/a", "MyHost", "a", "latest", "MyHost/a:latest"),
    ("127.0.0.1:5000/a", "127.0.0.1:5000", "a", "latest", "127.0.0.1:5000/a:latest"),
    ("[::1]:5000/a", "[::1]:5000", "a", "latest", "[::1]:5000/a:latest"),
    ("[2001:db8::1]/a", "[2001:db8::1]", "a", "latest", "[2001:db8::1]/a:latest"),
    ("xn--n3h.com/a", "xn--n3h.com", "a", "latest", "xn--n3h.com/a:latest"),
    ("xn--7o8h.com:8080/a/b", "xn--7o8h.com:8080", "a/b", "latest", "xn--7o8h.com:8080/a/b:latest"),
    ("a-b.c-d.e/f", "a-b.c-d.e", "f", "latest", "a-b.c-d.e/f:latest"),
    ("a.b_c__d-e--f", HUB, "library/a.b_c__d-e--f", "latest", "a.b_c__d-e--f:latest"),
    ("a------b", HUB, "library/a------b", "latest", "a------b:latest"),
    ("User/app", "User", "app", "latest", "User/app:latest"),
    ("host.x:5000", HUB, "library/host.x", "5000", "host.x:5000"),
    ("0", HUB, "library/0", "latest", "0:latest"),
    ("a:" + "t" * 128, HUB, "library/a", "t" * 128, "a:" + "t" * 128),
    ("a:_x.y-Z", HUB, "library/a", "_x.y-Z", "a:_x.y-Z"),
    ("5000:5000", HUB, "library/5000", "5000", "5000:5000"),
    ("host.x/5000:5000", "host.x", "5000", "5000", "host.x/5000:5000"),
    (HEX[:63], HUB, f"library/{HEX[:63]}", "latest", f"{HEX[:63]}:latest"),
    (f"user/{HEX}", HUB, f"user/{HEX}", "latest", f"user/{HEX}:latest"),
    (f"{HEX}:tag", None, None, None, None),
    ("h.x/" + "a" * 255, "h.x", "a" * 255, "latest", "h.x/" + "a" * 255 + ":latest"),
]

INVALID = [
    *(
        "",
        " ",
        "nginx ",
        " nginx",
        "nginx\n",
        "nginx\0",
        "\tnginx",
        "NGINX",
        "nginx:",
        ":tag",
        "nginx:-x",
        "nginx:.x",
        "nginx:a b",
    ),
    *(
        "nginx:" + "t" * 129,
        "nginx:tag:tag",
        "nginx:ä",
        "ä",
        "ngінx",
        "a//b",
        "/a",
        "a/",
        "./a",
        "../a",
        "a/../b",
        "a/./b",
        "a/.b",
        "a/b.",
        "-a",
        "a-",
        "_a",
    ),
    *(
        "a_",
        "a___b",
        "a..b",
        "a._b",
        "a-_b",
        "a/b/-c",
        "https://quay.io/a",
        "http://a",
        "docker://nginx",
        "oci:nginx:x/y",
        "host:port/a",
        "host:/a",
        "host:123456/a",
    ),
    *(
        "host:70000/a",
        "-host.x/a",
        "host-.x/a",
        "a..b/c",
        ".a/b",
        "host.x/",
        "[::1/a",
        "::1/a",
        "[::1]",
        "[::g]/a",
        "[::1]:x/a",
        "h_h.x/a",
    ),
    *(
        "a@",
        "a@sha256",
        "a@sha256:",
        f"a@sha256:{HEX[:63]}",
        f"a@sha256:{HEX}0",
        f"a@sha256:{HEX.upper()}",
        f"a@md5:{HEX[:32]}",
        f"a@sha256:{HEX}@{SHA}",
        f"@{SHA}",
    ),
    *(
        f"a@{SHA}:tag",
        f"a@sha256-{HEX}",
        f"a@{SHA}?x",
        f"a@{SHA}#x",
        "a@sha256:../../../x",
        f"a:@{SHA}",
        HEX,
        f"{HEX}@{SHA}",
        "a%2fb",
        "a\\b",
        "a?b",
        "a#b",
        "a=b",
        "a,b",
    ),
    *(
        "host.x/" + "a" * 256,
        "a" * 2000,
        "a:１",
        "user@host.x/a",
        "a@b/c",
        "~a",
        "$(id)",
        "a;b",
        "＜",
        "а" * 3,
        "a\u200b",
        "a\u202eb",
        "host.x//a",
        "host.x/A",
        "host.x/a:ta/g",
    ),
]


@pytest.mark.parametrize(("text", "registry", "repository", "tag", "familiar"), VALID)
def test_names_are_read_as_docker_reads_them(
    text: str, registry: str | None, repository: str | None, tag: str | None, familiar: str | None
) -> None:
    if registry is None:
        with pytest.raises(InvalidReference):
            Reference.parse(text)
        return
    reference = Reference.parse(text)
    assert (reference.registry, reference.repository, reference.tag, reference.digest) == (registry, repository, tag, None)
    assert reference.familiar == familiar
    assert str(reference) == f"{registry}/{repository}:{tag}"


@pytest.mark.parametrize(
    "text", [str(Reference.parse(text)) for text, registry, *_ in VALID if registry] + [f"a@{SHA}", f"h.x:1/a:b@{SHA}"]
)
def test_the_full_and_the_familiar_text_mean_the_same(text: str) -> None:
    reference = Reference.parse(text)
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


@pytest.mark.parametrize("text", INVALID)
def test_what_docker_refuses_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidReference) as failure:
        Reference.parse(text)
    assert "\n" not in str(failure.value)


def test_a_digest_takes_the_place_of_the_default_tag_and_keeps_a_given_one() -> None:
    assert Reference.parse(f"nginx@{SHA}") == Reference(HUB, "library/nginx", None, Digest("sha256", HEX))
    both = Reference.parse(f"nginx:1@{SHA}")
    assert (both.tag, str(both.digest), both.familiar) == ("1", SHA, f"nginx:1@{SHA}")
    sha512 = "sha512:" + HEX * 2
    assert str(Reference.parse(f"nginx@{sha512}").digest) == sha512


def test_upper_case_names_get_the_right_spelling_as_a_hint() -> None:
    with pytest.raises(InvalidReference, match="lower case") as failure:
        Reference.parse("Nginx:1")
    assert failure.value.hint == "try library/nginx"


def test_nothing_else_ever_comes_out_of_random_texts() -> None:
    generator = random.Random(7)
    alphabet = "ab0A.:/@_-[]ä\n \0é" + "sha256:" + HEX[:4]
    for _ in range(10_000):
        text = "".join(generator.choices(alphabet, k=generator.randrange(0, 24)))
        try:
            reference = Reference.parse(text)
        except InvalidReference:
            continue
        assert text.isascii()
        assert ".." not in reference.repository.split("/")
        assert Reference.parse(str(reference)) == reference
