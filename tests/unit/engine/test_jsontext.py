from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from crate_engine import jsontext

REPOSITORY = Path(__file__).resolve().parents[3]
VALUES: list[object] = [None, True, -3, 2.5, "", "é\n\u2028😀", [], {}, {"a": [1, {"b": None}], "c": (1, 2)}, "\udcff bytes"]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_texts_are_those_of_the_standard_module(value: object) -> None:
    assert jsontext.dumps(value) == json.dumps(value, separators=(",", ":"))
    assert jsontext.loads(jsontext.dumps(value)) == json.loads(json.dumps(value))


def test_what_is_not_json_is_a_value_error_also_without_the_standard_module() -> None:
    script = """
import sys
sys.path.append(sys.argv[1])
from crate_engine import jsontext
for text in ("", "{", "[1] x", "nope", '{"a" 1}', "'a'"):
    try:
        jsontext.loads(text)
    except ValueError:
        continue
    sys.exit(f"{text!r} was taken")
"""
    subprocess.run([sys.executable, "-I", "-S", "-c", script, str(REPOSITORY)], check=True)


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="set has no JSON form"):
        jsontext.dumps({1, 2})
