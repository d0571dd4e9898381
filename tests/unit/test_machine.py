"""What a machine grants, read from made-up trees that follow cgroups(7), cgroup-v2.rst and proc(5)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from coldstart_sdk import machine

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
HALF = f"{CORES * 50_000} 100000"
QUARTER = f"{CORES * 25_000} 100000"


def a_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def quota_facts(tree: Path) -> float:
    return float(machine.facts(tree, tree)["cpu_quota"])


def test_the_tightest_quota_on_the_way_up_holds(tmp_path: Path) -> None:
    tree = a_tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/slice/pod/worker\n",
            "sys/fs/cgroup/slice/pod/worker/cpu.max": "max 100000\n",
            "sys/fs/cgroup/slice/pod/cpu.max": QUARTER + "\n",
            "sys/fs/cgroup/slice/cpu.max": HALF + "\n",
        },
    )

    assert quota_facts(tree) == CORES / 4


def test_a_container_whose_path_is_the_hosts_reads_its_own_group_at_the_mount(tmp_path: Path) -> None:
    tree = a_tree(tmp_path, {"proc/self/cgroup": "0::/docker/3a7f\n", "sys/fs/cgroup/cpu.max": HALF + "\n"})

    assert quota_facts(tree) == CORES / 2


def test_a_group_above_the_container_is_not_looked_for_outside_the_mount(tmp_path: Path) -> None:
    tree = a_tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/../../outside\n",
            "sys/outside/cpu.max": QUARTER + "\n",
            "sys/fs/cgroup/cpu.max": HALF + "\n",
        },
    )

    assert quota_facts(tree) == CORES / 2


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_version_1_quotas_count(tmp_path: Path, mount: str) -> None:
    tree = a_tree(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/3a7f\n3:memory:/docker/3a7f\n1:name=systemd:/x\n",
            f"sys/fs/cgroup/{mount}/cpu.cfs_quota_us": f"{CORES * 50_000}\n",
            f"sys/fs/cgroup/{mount}/cpu.cfs_period_us": "100000\n",
        },
    )

    assert quota_facts(tree) == CORES / 2


def test_version_1_without_a_quota_grants_every_core(tmp_path: Path) -> None:
    tree = a_tree(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    )

    assert machine.cpu_quota(tree) == CORES


def test_a_hybrid_machine_is_read_on_both_sides(tmp_path: Path) -> None:
    tree = a_tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:cpu:/job\n0::/job\n",
            "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": f"{CORES * 50_000}\n",
            "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/unified/job/cpu.max": QUARTER + "\n",
        },
    )

    assert quota_facts(tree) == CORES / 4


@pytest.mark.parametrize(
    ("cpu_max", "whole"),
    [("1000 100000", 1), ("190000 100000", 1), ("10000000 100000", CORES), ("max", CORES)],
)
def test_a_quota_is_rounded_down_to_whole_cores_but_never_to_none(
    tmp_path: Path, cpu_max: str, whole: int
) -> None:
    tree = a_tree(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": cpu_max})

    assert machine.cpu_quota(tree) == whole


@pytest.mark.parametrize("cpu_max", ["", "nonsense\n", "100000 0\n", "-5 100000\n"])
def test_an_unreadable_quota_is_no_quota(tmp_path: Path, cpu_max: str) -> None:
    tree = a_tree(tmp_path, {"proc/self/cgroup": "0::/\nnot a line\n", "sys/fs/cgroup/cpu.max": cpu_max})

    assert machine.cpu_quota(tree) == CORES


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no threads to cores")
def test_the_affinity_of_the_process_counts() -> None:
    core = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{core}}})\n"
        "from coldstart_sdk import machine; print(machine.cpu_quota())"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "1"


MEMINFO = "MemTotal:       16384000 kB\nMemFree:        1024 kB\n"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"proc/meminfo": MEMINFO}, 16_777_216_000),
        (
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/pod/worker\n",
                "sys/fs/cgroup/pod/worker/memory.max": "max\n",
                "sys/fs/cgroup/pod/memory.max": "8000000000\n",
            },
            8_000_000_000,
        ),
        (
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "3:memory:/docker/3a7f\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "2147483648\n",
            },
            2_147_483_648,
        ),
        (  # what version 1 writes where there is no limit
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "3:memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            16_777_216_000,
        ),
        ({}, None),
    ],
)
def test_memory_is_the_least_of_machine_and_groups(
    tmp_path: Path, files: dict[str, str], limit: int | None
) -> None:
    assert machine.memory_limit_bytes(a_tree(tmp_path, files)) == limit


def test_a_library_that_would_see_too_many_cores_is_told() -> None:
    limits = machine.thread_limits({}, quota=7, visible=96)

    assert set(limits) == set(machine.THREAD_VARIABLES)
    assert set(limits.values()) == {"7"}


def test_a_library_that_counts_right_by_itself_is_left_alone() -> None:
    assert machine.thread_limits({}, quota=8, visible=8) == {}


@pytest.mark.parametrize(
    ("name", "set_to", "becomes"),
    [
        ("OMP_NUM_THREADS", "2", None),
        ("OMP_NUM_THREADS", "4", None),
        ("OMP_NUM_THREADS", "96", "4"),
        ("OMP_NUM_THREADS", "8,2", "4,2"),
        ("OMP_NUM_THREADS", "2,2", None),
        ("OMP_NUM_THREADS", "", "4"),
        ("OMP_NUM_THREADS", "many", "4"),
        ("RAYON_NUM_THREADS", "0", "4"),
        ("TORCHINDUCTOR_COMPILE_THREADS", "0", None),
        ("TORCHINDUCTOR_COMPILE_THREADS", "1", None),
        ("TORCHINDUCTOR_COMPILE_THREADS", "32", "4"),
    ],
)
def test_a_thread_count_is_only_ever_lowered(name: str, set_to: str, becomes: str | None) -> None:
    assert machine.thread_limits({name: set_to}, quota=4, visible=96).get(name) == becomes


def test_a_count_above_the_quota_is_capped_even_where_all_cores_are_granted() -> None:
    assert machine.thread_limits({"MKL_NUM_THREADS": "64"}, quota=8, visible=8) == {"MKL_NUM_THREADS": "8"}


def test_a_preset_never_overrides_what_the_user_set() -> None:
    chosen = {"MALLOC_ARENA_MAX": "", "CUDA_MODULE_LOADING": "EAGER"}

    assert machine.boot_env(chosen) == {"HF_HUB_DISABLE_TELEMETRY": "1"}
    assert machine.boot_env(dict(machine.PRESETS)) == {}


STAT = "({comm}) S 0 0 0 0 -1 4194560 40309 0 0 0 12 6 0 0 20 0 13 0 {start} 50401280 4610 1844674407370955\n"


@pytest.mark.parametrize("comm", ["python", "my worker", "a) b (c", ") S 1 2", ""])
def test_a_start_is_read_whatever_the_command_is_called(tmp_path: Path, comm: str) -> None:
    tree = a_tree(tmp_path, {"proc/self/stat": "42 " + STAT.format(comm=comm, start=24)})

    assert machine.process_start_s(tree) == 24 / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    "stat",
    ["", "42 (python", "42 (python) S 0", "42 " + STAT.format(comm="x", start="?")]
    + ["42 " + STAT.format(comm="x", start=start) for start in (0, 10**15)],
)
def test_a_start_that_cannot_be_true_is_unknown(tmp_path: Path, stat: str) -> None:
    assert machine.process_start_s(a_tree(tmp_path, {"proc/self/stat": stat})) is None


def test_a_start_that_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    assert machine.process_start_s(tmp_path) is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
def test_the_real_start_of_a_process_lies_between_its_parents_clock_readings() -> None:
    code = "from coldstart_sdk import machine; print(machine.process_start_s())"
    tick = 1 / os.sysconf("SC_CLK_TCK")

    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = time.clock_gettime(time.CLOCK_BOOTTIME)

    assert before - tick <= float(done.stdout) <= after


OVERLAY = "29 1 0:28 / / rw,relatime - overlay overlay rw,lowerdir=/l\n"
DISK = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n31 27 0:30 / /mnt rw - overlay overlay rw\n"


@pytest.mark.parametrize(
    ("files", "container"),
    [
        ({".dockerenv": ""}, True),
        ({"run/.containerenv": ""}, True),
        ({"proc/1/cgroup": "0::/kubepods/burstable/pod1\n"}, True),
        ({"proc/self/mountinfo": OVERLAY}, True),
        ({"proc/1/cgroup": "0::/init.scope\n", "proc/self/mountinfo": DISK}, False),
        ({}, False),
    ],
)
def test_a_container_is_told_from_a_whole_machine(
    tmp_path: Path, files: dict[str, str], *, container: bool
) -> None:
    tree = a_tree(tmp_path, {**files, "proc/1/stat": "1 " + STAT.format(comm="init", start=24)})

    assert machine.in_container(tree) is container
    assert (machine.container_start_s(tree) is not None) is container


def test_a_container_that_was_up_long_before_was_not_made_for_this_process(tmp_path: Path) -> None:
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / ".dockerenv").touch()
    (tmp_path / "proc/1/stat").write_text(f"1 (init) S {'0 ' * 18}{100 * os.sysconf('SC_CLK_TCK')} 0\n")
    container_s = machine.container_start_s(tmp_path)
    assert container_s is not None

    assert machine.container_made_for_s(container_s + 5, tmp_path) == container_s
    assert machine.container_made_for_s(container_s + 3600, tmp_path) is None
    assert machine.container_made_for_s(None, tmp_path) is None


def test_facts_are_short_texts_that_name_no_host(tmp_path: Path) -> None:
    seen = machine.facts(tmp_path / "not" / "there" / "yet")

    assert all(seen.values())
    assert os.uname().nodename not in seen.values()
    assert int(seen["disk_free_bytes"]) > 0
    assert seen["python"] == ".".join(map(str, sys.version_info[:3]))


def test_asking_the_machine_loads_no_module_but_this_one() -> None:
    code = (
        "import sys, pathlib, coldstart_sdk.spec; before = set(sys.modules)\n"
        "from coldstart_sdk import machine; machine.facts(pathlib.Path('/'))\n"
        "print(*set(sys.modules) - before)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert set(done.stdout.split()) <= {"coldstart_sdk.machine"}


HOME = Path("/kept")


def caches(env: Mapping[str, str], *, has_hub: bool = False, elsewhere: bool = False) -> dict[str, str]:
    return dict(machine.cache_env(env, HOME, has_hub=has_hub, elsewhere=elsewhere))


def test_what_libraries_download_and_compile_lies_where_files_are_kept() -> None:
    assert caches({}) == {
        "TORCH_HOME": "/kept/torch",
        "TORCHINDUCTOR_CACHE_DIR": "/kept/compiled/inductor",
        "TRITON_CACHE_DIR": "/kept/compiled/triton",
        "TORCH_EXTENSIONS_DIR": "/kept/compiled/extensions",
        "CUDA_CACHE_PATH": "/kept/compiled/cuda",
        "VLLM_CACHE_ROOT": "/kept/compiled/vllm",
    }


def test_a_cache_that_the_user_chose_stays() -> None:
    chosen = {"TORCH_HOME": "/mine", "TRITON_CACHE_DIR": ""}

    assert not caches(chosen).keys() & chosen.keys()


def test_with_weights_of_the_hub_its_cache_is_where_those_are() -> None:
    assert caches({"HF_HUB_CACHE": "/mine"}, has_hub=True)["HF_HUB_CACHE"] == "/kept/hub"
    assert "HF_HUB_CACHE" not in caches({})
    assert "HF_HOME" not in caches({}, has_hub=True)


@pytest.mark.parametrize("old", ["TRANSFORMERS_CACHE", "HUGGINGFACE_HUB_CACHE"])
def test_an_older_word_for_the_hubs_cache_is_set_right_and_never_made(old: str) -> None:
    assert caches({old: "/image"}, has_hub=True)[old] == "/kept/hub"
    assert old not in caches({}, has_hub=True)


def test_elsewhere_the_hubs_other_files_are_kept_too_and_the_token_stays_where_it_was() -> None:
    found = caches({"HOME": "/root", "XDG_CACHE_HOME": "/cache"}, elsewhere=True)

    assert (found["HF_HOME"], found["HF_HUB_CACHE"]) == ("/kept/huggingface", "/kept/hub")
    assert found["HF_TOKEN_PATH"] == "/cache/huggingface/token"
    assert "HF_HUB_CACHE" not in caches({"HF_HOME": "/mine"}, elsewhere=True)


def test_a_cache_that_was_moved_or_read_too_early_is_named() -> None:
    pointed = {"HF_HUB_CACHE": "/kept/hub", "TORCH_HOME": "/kept/torch"}
    early = ModuleType("huggingface_hub.constants")
    early.HF_HUB_CACHE = "/elsewhere"  # type: ignore[attr-defined] # a module of our own making
    known = sys.modules.get(early.__name__)
    sys.modules[early.__name__] = early
    try:
        assert machine.moved_env(pointed, pointed) == ("HF_HUB_CACHE",)
        early.HF_HUB_CACHE = "/kept/hub"  # type: ignore[attr-defined] # as above
        assert machine.moved_env(pointed, pointed) == ()
        assert machine.moved_env(pointed, {"HF_HUB_CACHE": "/kept/hub"}) == ("TORCH_HOME",)
    finally:
        del sys.modules[early.__name__]
        if known is not None:
            sys.modules[early.__name__] = known


def test_files_are_kept_in_the_first_place_that_takes_one_and_has_room(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("in the way")
    places = (tmp_path / "a file" / "home", tmp_path / "full", tmp_path / "good", tmp_path / "later")

    found, passed = machine.first_home(places, lambda place: 10**18 if place.name == "full" else 1)

    assert found == tmp_path / "good"
    assert [line.partition(": ")[0] for line in passed] == [str(place) for place in places[:2]]
    assert "Not a directory" in passed[0]
    assert "1000000000.0 GB are needed" in passed[1]
    assert not list(tmp_path.rglob(".probe*"))


def test_where_no_place_has_room_the_first_that_takes_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("in the way")
    places = (tmp_path / "a file" / "home", tmp_path / "one", tmp_path / "two")

    found, passed = machine.first_home(places, lambda _: 10**18)

    assert (found, len(passed)) == (tmp_path / "one", 2)
