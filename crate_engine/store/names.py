"""Names for containers that were given none: an adjective and a thing of the sea and its harbours."""

from __future__ import annotations

import os

_ADJECTIVES = (
    "able amber bold brave brisk bright calm clear cosy crisp curious dapper daring deep dreamy eager early fair fancy "
    "fearless fond free fresh gentle glad golden graceful grand happy hardy honest humble jolly keen kind lively lucky "
    "mellow merry mighty modest neat nimble noble patient plucky polite proud quick quiet rapid ready silent silver sleek "
    "smart snug spry stable steady sturdy sunny swift tidy tranquil trusty upbeat vivid warm wise witty young zesty"
)
_THINGS = (
    "anchor barge beacon bollard bosun breeze bridge brig buoy cabin canoe capstan captain cargo clipper coast compass "
    "coral cove crane crew current cutter deck delta derrick dinghy dock dolphin drifter estuary ferry fjord fleet galley "
    "gull gunwale harbour hatch haven hawser helm heron horizon hull island jetty keel kelp ketch lagoon lantern lighthouse "
    "lugger mast mooring narwhal oar otter packet pelican pier pilot porpoise port puffin quay raft reef rigging rudder "
    "sail schooner sextant shanty skiff sloop spar starfish tanker tern tide tiller trawler tug walrus wharf winch yawl"
)


def generate() -> str:
    """A new random name; whether it is taken is the caller's to find out."""
    first, second = os.urandom(4), os.urandom(4)
    adjectives, things = _ADJECTIVES.split(), _THINGS.split()
    return f"{adjectives[int.from_bytes(first) % len(adjectives)]}_{things[int.from_bytes(second) % len(things)]}"
