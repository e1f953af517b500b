"""Every limit on what a registry, an image or a layer may make this program read, keep or create: constants, each named where it is enforced.

Sizes are bytes and times seconds. A limit that is crossed raises an error that names it; nothing is cut short silently.
"""

from __future__ import annotations

MIB = 1 << 20

# Documents (JSON).
MANIFEST_BYTES = 4 * MIB
CONFIG_BYTES = 8 * MIB
TOKEN_BYTES = MIB
INDEX_FILE_BYTES = 16 * MIB
ERROR_BYTES = 64 << 10
JSON_DEPTH = 32
JSON_INTEGER = 2**63 - 1
INDEX_ENTRIES = 1000
INDEX_NESTING = 4
LAYERS = 512
ARCHIVE_MEMBERS = 20_000
ARCHIVE_DOCUMENTS = 32 * MIB
CONFIG_LIST = 10_000
CONFIG_TEXT = MIB

# Talking to a registry.
CONNECT_SECONDS = 15
STALL_SECONDS = 30
SLOW_BYTES_PER_STALL = 30 << 10
"""Fewer bytes than this in STALL_SECONDS, and a transfer counts as stalled."""
ATTEMPTS = 5
RETRY_AFTER_SECONDS = 60
REDIRECTS = 5
INFORMATIONAL = 16
"""Answers with status 100 before the one that counts."""
REFERRER_PAGES = 32
UPLOAD_CHUNK = 16 * MIB
MOUNT_TRIES = 3
BLOB_BYTES = 64 << 30

# Layers.
LAYER_BYTES = 256 << 30
LAYER_RATIO = 200
LAYER_RATIO_AFTER = 64 * MIB
LAYER_ENTRIES = 2_000_000
LAYER_DEPTH = 1024
LAYER_TRAILER = MIB
HEADER_BYTES = MIB
PATH_BYTES = 4095
NAME_BYTES = 255
XATTR_BYTES = 64 << 10
ZSTD_WINDOW_LOG = 27
