"""The figures and the schemata of a resctrl class, on a directory that stands in for the file system: few processors have one."""

from __future__ import annotations

from pathlib import Path

import pytest

from crate_runc import resctrl_class
from crate_runc.errors import CgroupError, UsageError


def resctrl(tmp_path: Path) -> Path:
    files = {
        "schemata": "    MB:0=100\n    L3:0=fffff\n",
        "info/L3/cbm_mask": "fffff\n",
        "info/L3/min_cbm_bits": "1\n",
        "info/L3/num_closids": "16\n",
        "info/MB/bandwidth_gran": "10\n",
        "info/MB/delay_linear": "1\n",
        "info/MB/min_bandwidth": "10\n",
        "info/MB/num_closids": "8\n",
        "info/L3_MON/mon_features": "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n",
        "c1/schemata": "    MB:0=50\n    L3:0=ff\n",
        "c1/mon_data/mon_L3_00/mbm_total_bytes": "7\n",
        "c1/mon_data/mon_L3_00/mbm_local_bytes": "5\n",
        "c1/mon_data/mon_L3_00/llc_occupancy": "Unavailable\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_figures_have_the_names_of_runc(tmp_path: Path) -> None:
    assert resctrl_class.figures({}, "c1", str(resctrl(tmp_path))) == {
        "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=fffff",
        "l3_cache_schema": "L3:0=ff",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0=100",
        "mem_bw_schema": "MB:0=50",
        "schemata": ["MB:0=50", "L3:0=ff"],
        "mbm_stats": [{"mbm_total_bytes": 7, "mbm_local_bytes": 5}],
        "cmt_stats": [{"llc_occupancy": 0}],
    }


def test_what_the_processor_cannot_do_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "c1").mkdir()
    (tmp_path / "c1" / "schemata").write_text("L2:0=f\n")
    assert resctrl_class.figures({}, "c1", str(tmp_path)) == {"schemata": ["L2:0=f"]}


def test_update_changes_the_schemata_that_it_names(tmp_path: Path) -> None:
    config = {"linux": {"intelRdt": {"closID": "c1", "l3CacheSchema": "L3:0=f"}}}
    wanted = resctrl_class.changed(config, {"mem-bw-schema": "MB:0=20"})
    assert wanted == {"closID": "c1", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"}
    resctrl_class.write({"closID": "c1", "memBwSchema": "MB:0=20"}, "c9", str(resctrl(tmp_path)))
    assert (tmp_path / "c1" / "schemata").read_text().startswith("MB:0=20\n")
    assert resctrl_class.changed(config, {"memory": "5"}) is None


def test_update_of_what_the_container_has_not_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="updating a non-existent Intel RDT configuration is not supported"):
        resctrl_class.changed({"linux": {}}, {"l3-cache-schema": "L3:0=f"})
    with pytest.raises(UsageError, match=r"^--l3-cache-schema: .* has no L3"):
        resctrl_class.write({"closID": "c1", "l3CacheSchema": "L3:0=f"}, "c1", str(tmp_path))
    root = resctrl(tmp_path)
    with pytest.raises(CgroupError, match=r"^linux.intelRdt.memBwSchema: write MB:0=1 to .*/gone/schemata: no such file"):
        resctrl_class.write({"closID": "gone", "memBwSchema": "MB:0=1"}, "c1", str(root))
