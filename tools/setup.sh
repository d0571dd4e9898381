#!/bin/sh
# Set up what a make goal needs. The only place that installs anything.
#
#   setup.sh venv PYTHON DIRECTORY TORCH EXTRAS   an environment of the project's own; TORCH may be empty
#   setup.sh beside DIRECTORY PACKAGE==VERSION .. further versions, in DIRECTORY/PACKAGE-VERSION; what they need
#                                                 is in the environment already
#   setup.sh debian [PACKAGE ...]                 Debian packages, where this user may install them
set -eu

fail() { # what, fix
  printf 'error: %s\nfix:   %s\n' "$1" "$2" >&2
  exit 1
}

make_venv() { # python, directory
  version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
    fail "$1 does not run" "Name an interpreter: make PYTHON=/path/to/python3.12 …"
  case $version in
    3.10 | 3.11 | 3.12 | 3.13) ;;
    *) fail "$1 is Python $version; coldstart-sdk runs on 3.10 to 3.13" "Name another: make PYTHON=python3.12 …" ;;
  esac
  if [ "$("$2/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$version" ]; then
    return
  fi
  echo "setup: Python $version in $2"
  "$1" -m venv --clear "$2" ||
    fail "$1 cannot make an environment" "On Debian and Ubuntu: apt-get install python$version-venv"
}

# Torch's builds for Linux on PyPI are for CUDA and bring gigabytes; the tests need the CPU alone. A torch that is
# there already stays. pip's own settings (PIP_FIND_LINKS, pip.conf) are asked first, then uv, which knows where
# torch keeps its CPU builds.
install_torch() { # directory, version
  if "$1/bin/python" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)'; then
    return 0
  fi
  echo "setup: torch $2, CPU build"
  if [ "$(uname -s)" != Linux ]; then
    "$1/bin/python" -m pip install -q "torch==$2" && return 0
  else
    "$1/bin/python" -m pip install -q "torch==$2+cpu" 2>/dev/null && return 0
    "$1/bin/python" -m pip install -q uv 2>/dev/null &&
      UV_HTTP_TIMEOUT=15 "$1/bin/uv" pip install -q --python "$1/bin/python" --torch-backend cpu "torch==$2" 2>/dev/null &&
      return 0
  fi
  echo "setup: no CPU build of torch $2 for this Python within reach (make clean, and the next run looks again);" \
    "tests that need torch will be skipped, by name"
  return 1
}

set_up_venv() { # python, directory, torch, extras
  make_venv "$1" "$2"
  extras=$4
  if [ -n "$3" ] && install_torch "$2" "$3"; then
    extras=$extras,torch
  fi
  echo "setup: coldstart-sdk[$extras]"
  "$2/bin/python" -m pip install -q -e ".[$extras]" ||
    fail "pip could not install coldstart-sdk[$extras]" "Its reason stands above; run the same command again to resume."
}

install_beside() { # directory, packages
  directory=$1 && shift
  for package in "$@"; do
    folder=$directory/${package%%==*}-${package#*==}
    if [ -d "$folder" ]; then
      continue
    fi
    echo "setup: $package, in $folder"
    rm -rf "$folder.part"
    "$directory/bin/python" -m pip install -q --no-deps --target "$folder.part" "$package" ||
      fail "pip could not install $package" "Its reason stands above; run the same command again to resume."
    mv "$folder.part" "$folder"
  done
}

# Root installs; so does a CI machine's user, who may become it without a password. One package after the other:
# another distribution lacks one of them, and has the rest.
install_debian() { # packages
  missing=
  for package in "$@"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
  done
  if [ -z "$missing" ]; then
    return
  fi
  as_root=
  if [ "$(id -u)" != 0 ] && [ "${CI:-}" = true ]; then
    as_root="sudo -n"
  fi
  absent=$missing
  if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || [ -n "$as_root" ]; }; then
    echo "setup: Debian packages:$missing"
    absent=
    $as_root apt-get update -q || true
    for package in $missing; do
      $as_root apt-get install -q -y --no-install-recommends "$package" || absent="$absent $package"
    done
  fi
  if [ -n "$absent" ]; then
    echo "setup: not installed:$absent; tests that need them will be skipped, by name"
  fi
}

export PIP_DISABLE_PIP_VERSION_CHECK=1
case $1 in
  venv) shift && set_up_venv "$@" ;;
  beside) shift && install_beside "$@" ;;
  debian) shift && install_debian "$@" ;;
  *) fail "no such step: $1" "venv, beside or debian" ;;
esac
