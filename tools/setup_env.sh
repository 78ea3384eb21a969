#!/usr/bin/env bash
# Sets up .venv from the lock files. llama-cpp-python is compiled once for this processor (about eight minutes on two
# cores) and its wheel is kept in the user's cache for the next checkout.
# Needs Python 3.11 or later, a C++ compiler, cmake and make. PYTHON=/path/to/python chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'setup: %s\n  fix: %s\n' "$1" "$2" >&2; exit 3; }

python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      python=$candidate
      break
    fi
  done
fi
[ -n "$python" ] || fail "no Python 3.11 or later found" "apt-get install python3.11 python3.11-venv"
"$python" -c 'import ensurepip' 2>/dev/null || fail "$python cannot make virtual environments" "apt-get install python3-venv"

lock_hash=$(cat requirements.lock requirements-native.lock requirements-torch.lock pyproject.toml tools/setup_env.sh | sha256sum | cut -c1-16)
stamp=".venv/installed-$lock_hash"
[ -f "$stamp" ] && exit 0

for tool in c++ cmake make; do
  command -v "$tool" >/dev/null || fail "$tool is not installed" "apt-get install g++ cmake make"
done

[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=(.venv/bin/python -m pip --disable-pip-version-check)
echo "setup: installing locked packages" >&2
"${pip[@]}" install --quiet --no-deps --require-hashes -r requirements.lock

# A wheel is built for this processor's instruction sets: keep one for each kind.
processor=$( (uname -sm; echo no-amx; sed -n 's/^\(flags\|Features\)\s*:\s*//p;T;q' /proc/cpuinfo 2>/dev/null || true) | sha256sum | cut -c1-16)
version=$(sed -n 's/^llama-cpp-python==\([0-9.]*\).*/\1/p' requirements-native.lock)
wheels="${QUANTCURVE_WHEELS:-${XDG_CACHE_HOME:-$HOME/.cache}/quantcurve/wheels}/llama-cpp-python-$version-$processor"
if ! ls "$wheels"/*.whl >/dev/null 2>&1; then
  echo "setup: compiling llama-cpp-python $version (about 8 minutes on two cores; only once on this machine)" >&2
  draft="$wheels.$$"
  # Without AMX: GCC 12 leaves out the stores to the tile configuration before _tile_loadconfig (ggml-cpu/amx/mmq.cpp),
  # and the next tile instruction is illegal (https://github.com/ggml-org/llama.cpp/pull/26954).
  flags=""
  case $(uname -m) in x86_64) flags="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16" ;; esac
  CMAKE_ARGS="${CMAKE_ARGS:-} -DCMAKE_C_FLAGS='$flags' -DCMAKE_CXX_FLAGS='$flags'" CMAKE_BUILD_PARALLEL_LEVEL=$(nproc 2>/dev/null || echo 2) \
    "${pip[@]}" wheel --quiet --no-cache-dir --no-deps --require-hashes -r requirements-native.lock -w "$draft"
  mkdir -p "$(dirname "$wheels")"
  rm -rf "$wheels"
  mv "$draft" "$wheels"
fi
"${pip[@]}" install --quiet --no-deps --force-reinstall "$wheels"/*.whl
echo "setup: installing PyTorch (a build for CPUs is enough: PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS can name one)" >&2
"${pip[@]}" install --quiet --no-warn-conflicts -r requirements-torch.lock
"${pip[@]}" install --quiet --no-deps --no-build-isolation -e .
rm -f .venv/installed-*
touch "$stamp"
echo "setup: done" >&2
