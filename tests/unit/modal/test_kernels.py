"""What was compiled while the image was built is not compiled again, and a volume does not hide it."""

from __future__ import annotations

from pathlib import Path

from coldstart_sdk.backends.modal import environ, kernels


def test_an_image_is_built_where_no_volume_hides_what_it_leaves() -> None:
    env = {
        "COLDSTART_HOME": "/coldstart",
        "TRITON_CACHE_DIR": "/coldstart-compiled/triton",
        "CUDA_CACHE_PATH": "/coldstart/compiled/cuda",
        "OTHER": "/coldstarted",
    }

    assert environ.in_image(env) == {
        "COLDSTART_HOME": "/opt/coldstart",
        "TRITON_CACHE_DIR": "/opt/coldstart/compiled/triton",
        "CUDA_CACHE_PATH": "/opt/coldstart/compiled/cuda",
    }


def test_an_empty_volume_begins_with_what_the_image_has(tmp_path: Path) -> None:
    built, kept = tmp_path / "image", tmp_path / "volume/compiled"
    (built / "triton").mkdir(parents=True)
    (built / "triton/kernel").write_text("built")
    env = {kernels.CACHE: str(kept / "triton")}

    assert kernels.seed(env, built)
    assert (kept / "triton/kernel").read_text() == "built"


def test_a_volume_that_has_kernels_keeps_its_own(tmp_path: Path) -> None:
    built, kept = tmp_path / "image", tmp_path / "volume"
    built.mkdir()
    (built / "kernel").touch()
    kept.mkdir()
    (kept / "own").touch()

    assert not kernels.seed({kernels.CACHE: str(kept / "triton")}, built)
    assert not kernels.seed({}, built)
    assert [file.name for file in kept.iterdir()] == ["own"]
