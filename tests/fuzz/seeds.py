"""First inputs of the fuzz targets, and the words of their grammars. The corpus directory has what was found from them."""

from __future__ import annotations

import gzip
import json

from crate_engine.oci import media_types
from tests.fuzz.archives import NAMES, archive, extended, header, records

_HEX = "0123456789abcdef" * 4
_DIGEST = f"sha256:{_HEX}"


def _dump(document: object) -> bytes:
    return json.dumps(document).encode()


# archives

_FILES = [(header(b"d/", b"5", mode=0o755), b""), (header(b"d/f", size=5), b"hello"), (header(b"l", b"2", link=b"d"), b"")]
ARCHIVES = [
    archive(*_FILES),
    archive(*_FILES, (header(b"h", b"1", link=b"d/f"), b""), (header(b"p", b"6"), b""), (header(b"c", b"3"), b"")),
    archive(_FILES[2], (header(b"l/../../canary/file", size=1), b"x"), (header(b"l/x", size=1), b"x")),
    archive((header(b"link", b"2", link=b"/canary"), b""), (header(b"link/file", size=1), b"x"), (header(b"link", b"5"), b"")),
    archive((header(b"link", b"2", link=b"../canary"), b""), (header(b"h", b"1", link=b"link/file"), b"")),
    archive((header(b".wh.x"), b""), (header(b"d/.wh..wh..opq"), b""), *_FILES, (header(b".wh.d"), b"")),
    archive(extended(b"x", records([(b"path", b"long/" + b"n" * 150), (b"mtime", b"1.5"), (b"uid", b"5")])), (header(b"a"), b"")),
    archive(extended(b"L", b"n" * 200 + b"\0"), extended(b"K", b"t" * 200 + b"\0"), (header(b"a", b"2"), b"")),
    archive(extended(b"g", records([(b"comment", b"x")])), *_FILES),
    archive(
        extended(b"x", records([(b"SCHILY.xattr.user.a", b"1"), (b"SCHILY.xattr.security.capability", b"\1\0\0\2" + bytes(16))])),
        _FILES[1],
    ),
    *(archive((header(name, b"0", size=1), b"x"), (header(name, b"5"), b"")) for name in NAMES),
]
COMPRESSED = [
    *(gzip.compress(ARCHIVES[0], level, mtime=0) for level in (0, 9)),
    gzip.compress(b"a", mtime=0) + gzip.compress(b"b", mtime=0) + bytes(8),
    gzip.compress(bytes(100_000), mtime=0),
    bytes.fromhex("28b52ffd045829000068656c6c6f00000000"),
    ARCHIVES[0],
    *(b"", b"\x1f", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18\0\0\0\0", b"BZh91AY", b"\xfd7zXZ\0\0"),
]

# documents


def _descriptor(kind: str, **more: object) -> dict[str, object]:
    return {"mediaType": kind, "digest": _DIGEST, "size": 10, **more}


_MANIFESTS = [
    {"schemaVersion": 2, "mediaType": manifest, "config": _descriptor(config), "layers": [_descriptor(layer), _descriptor(layer)]}
    for manifest, config, layer in (
        (media_types.OCI_MANIFEST, media_types.OCI_CONFIG, media_types.OCI_LAYER + "+gzip"),
        (media_types.DOCKER_MANIFEST, media_types.DOCKER_CONFIG, media_types.DOCKER_LAYER + ".gzip"),
    )
]
_INDEXES = [
    {
        "schemaVersion": 2,
        "mediaType": index,
        "manifests": [
            _descriptor(manifest, platform={"os": "linux", "architecture": "arm", "variant": "v7"}, annotations={"a": "b"}),
            _descriptor(index, artifactType="x/y", urls=["https://h.example/x"], data="eA=="),
        ],
        "annotations": {"A": "b", "a": "c"},
    }
    for index, manifest in (
        (media_types.OCI_INDEX, media_types.OCI_MANIFEST),
        (media_types.DOCKER_INDEX, media_types.DOCKER_MANIFEST),
    )
]
DOCUMENTS = [_dump(document) for document in (*_MANIFESTS, *_INDEXES)] + [
    *(
        b"{}",
        b"[]",
        b"null",
        b"",
        b"\xef\xbb\xbf{}",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b"{} {}",
        b'{"a":"\\ud800"}',
    ),
    *(b'{"a":' * 40 + b"1" + b"}" * 40, b'{"a":' + b"[" * 5000, b'{"a":123456789012345678901}', b'{"\xff":1}', b"\xff\xfe{\0}\0"),
]
MEDIA_TYPES = [
    kind.encode() for kind in (*media_types.ACCEPTED, "", "text/html", "application/vnd.docker.distribution.manifest.v1+json")
]
MANIFESTS = [kind + b"\n" + document for kind, document in zip(MEDIA_TYPES, DOCUMENTS, strict=False)]
MANIFESTS += [b"\n" + document for document in DOCUMENTS]
MARKERS = [b'{"imageLayoutVersion":"1.0.0"}', b'{"imageLayoutVersion":"2"}', b"{}"]
JSON_WORDS = [
    *(
        "schemaVersion",
        "mediaType",
        "config",
        "layers",
        "manifests",
        "annotations",
        "digest",
        "size",
        "urls",
        "data",
        "platform",
        "subject",
    ),
    *("os", "architecture", "variant", "artifactType", "fsLayers", "history", "os.features", "linux", "arm64", "v8", "unknown"),
    *("org.opencontainers.image.ref.name", _DIGEST, "sha512:" + 2 * _HEX, "sha256:../../x"),
    *(media_types.OCI_CONFIG, media_types.DOCKER_CONFIG, *sorted(media_types.LAYERS), *media_types.ACCEPTED),
]
CONFIG_WORDS = [
    *(
        "architecture",
        "os",
        "variant",
        "created",
        "author",
        "config",
        "rootfs",
        "history",
        "diff_ids",
        "type",
        "layers",
        "User",
        "Env",
    ),
    *(
        "ExposedPorts",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "Shell",
        "Healthcheck",
        "OnBuild",
        "Test",
    ),
    *(
        "Interval",
        "Retries",
        "created_by",
        "comment",
        "empty_layer",
        "80/tcp",
        "1-65535/udp",
        "0/tcp",
        "SIGRTMIN+3",
        "9",
        "PATH=/bin",
    ),
    *(
        "2024-02-30T00:00:00Z",
        "2016-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999-23:59",
        "0001-01-01T00:00:00+23:59",
    ),
    *("root", "0:0", "1000", "a:b:c", "/", "/data", "NONE", "CMD", "CMD-SHELL", _DIGEST),
]
_CONFIG = {
    "architecture": "amd64",
    "os": "linux",
    "created": "2024-05-06T07:08:09.123456789Z",
    "config": {
        "User": "www-data:1000",
        "ExposedPorts": {"80/tcp": {}, "8000-8010/udp": {}},
        "Env": ["PATH=/bin", "A="],
        "Entrypoint": ["/entry"],
        "Cmd": ["run"],
        "Volumes": {"/data": {}},
        "WorkingDir": "/srv",
        "Labels": {"a": "b"},
        "StopSignal": "SIGQUIT",
        "Shell": ["/bin/sh", "-c"],
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9, "Retries": 3},
        "OnBuild": ["RUN x"],
    },
    "rootfs": {"type": "layers", "diff_ids": [_DIGEST]},
    "history": [{"created": "2024-05-06T07:08:09+02:00", "created_by": "COPY", "empty_layer": True}, {}],
}
CONFIGS = [_dump(_CONFIG), _dump({"architecture": "", "os": "linux", "rootfs": {"type": "layers"}})]

# texts

REFERENCE_WORDS = [
    *(
        "docker.io",
        "localhost",
        ":5000",
        "/",
        ":",
        "@",
        "@" + _DIGEST,
        _HEX,
        "sha512:",
        "library/",
        "index.docker.io/",
        "[::1]",
        "a.b",
        "..",
        ".",
    ),
    *("__", "___", "--", "-", "_", "A", "é", "\0", " ", "\n", "https://", "docker://", ":latest", "ａ", "xn--", "65536", "%2f"),
]
REFERENCES = [
    *(
        b"nginx",
        b"nginx:1.25",
        b"user/app@" + _DIGEST.encode(),
        b"localhost:5000/a/b:c",
        b"[::1]:5000/a",
        b"h.x/a:b@" + _DIGEST.encode(),
        b"A/b",
    ),
    *(b"docker.io/library/a", b"index.docker.io/a", _HEX.encode(), b"a__b--c.d", b""),
]
DIGEST_WORDS = ["sha256:", "sha512:", "sha256-", "md5:", _HEX, _HEX.upper(), "../", "?", "#", "@", "\n", "\0", "٣", " "]
DIGESTS = [_DIGEST.encode(), b"sha512:" + 2 * _HEX.encode(), b"sha256:", b"SHA256:" + _HEX.encode()]
PLATFORM_WORDS = [
    "linux",
    "/",
    "arm64",
    "arm",
    "v7",
    "v8",
    "amd64",
    "x86_64",
    "aarch64",
    "armhf",
    "windows",
    "LINUX",
    "İ",
    "é",
    "\0",
    "v999",
]
PLATFORMS = [b"linux/arm64", b"linux/arm/v7", b"amd64", b"linux", b"linux/amd64/v1", b"a/b/c/d", b""]
CHALLENGE_WORDS = [
    *(
        "Bearer ",
        "Basic ",
        "realm=",
        '"https://auth.example/token"',
        '"http://auth.example/token"',
        ",",
        "=",
        '"',
        "\\",
        'service="s"',
        "scope=x",
    ),
    *(
        "https://[",
        "https://[::1]",
        "//",
        "@",
        "#",
        "?a=b",
        "Negotiate",
        "\x00",
        "\x7f",
        "\xe9",
        "error=invalid_token",
        " ",
        "\t",
    ),
]
CHALLENGES = [
    b'Bearer realm="https://auth.example/token",service="s"\n{"token":"abc"}',
    b'Bearer realm="http://auth.example/token?x=y"\n{"access_token":"abc","token":""}',
    b'Basic realm="x", Bearer realm="https://auth.example"\n{}',
    b'Negotiate, Basic realm="x"\n',
    b'Digest a="\\"\\\\",b=c\nnull',
    b'Bearer realm="https://[::1/token"\n{"token":"abc"}',
]
ANSWER_WORDS = [
    *(
        "Retry-After: ",
        "Location: ",
        "Content-Length: ",
        "RateLimit-Limit: ",
        "RateLimit-Remaining: ",
        "\n",
        ":",
        "100;w=21600",
        "-1",
        "1e9",
    ),
    *(
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 1 Jan 0001 00:00:00 +9999",
        "9" * 30,
        "http://",
        "https://",
        "//",
    ),
    *(
        "h.example",
        "[::1",
        "[::1]:99999",
        "@",
        "/../",
        "\t",
        "\x1b[31m",
        '{"errors":[{"message":"',
        '"}]}',
        "\n\n",
        "[",
        "{",
        "٣",
        "%0d%0a",
    ),
]
ANSWERS = [
    b"Retry-After: 5\nContent-Length: 2\n\n{}",
    b'Retry-After: Wed, 21 Oct 2035 07:28:00 GMT\nRateLimit-Limit: 100;w=21600\n\n{"errors":[{"message":"too many"}]}',
    b"Location: https://cdn.example/blob?sig=x\n\n",
    b"Location: ../other\nRetry-After: soon\n\n<html>",
    b"Location: http://[::1\nContent-Length: -1\n\n",
    b"Content-Length: " + b"9" * 40 + b"\n\nx",
]
