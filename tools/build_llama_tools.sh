#!/usr/bin/env bash
# Builds llama-perplexity, llama-quantize, llama-imatrix, llama-bench and llama-batched-bench from the llama.cpp source
# inside the llama-cpp-python source distribution that quantcurve is pinned to, with that package's own build options,
# so that both sides of a comparison run the same code. About five minutes on two cores.
# Usage: tools/build_llama_tools.sh [FOLDER]     (default: build/llama-tools; prints the folder of the binaries)
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-build/llama-tools}")
python=${PYTHON:-.venv/bin/python}
version=$(sed -n 's/^llama-cpp-python==\([0-9.]*\).*/\1/p' requirements-native.lock)
tools=(llama-perplexity llama-quantize llama-imatrix llama-bench llama-batched-bench)
flags=""  # as in setup_env.sh, which says why
case $(uname -m) in x86_64) flags="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16" ;; esac

stamp="$folder/built-$version-$(echo "${tools[*]} $flags" | sha256sum | cut -c1-8)"
if [ ! -f "$stamp" ]; then
  mkdir -p "$folder/source"
  if ! ls "$folder"/source/llama_cpp_python-*.tar.gz >/dev/null 2>&1; then
    "$python" -m pip download --quiet --no-deps --no-binary llama-cpp-python -d "$folder/source" \
      -r requirements-native.lock >&2
  fi
  tar -xzf "$folder"/source/llama_cpp_python-"$version".tar.gz -C "$folder/source"
  cmake -S "$folder/source/llama_cpp_python-$version/vendor/llama.cpp" -B "$folder/cmake" \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS="$flags" -DCMAKE_CXX_FLAGS="$flags" -DBUILD_SHARED_LIBS=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_SERVER=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF >&2
  cmake --build "$folder/cmake" --config Release --target "${tools[@]}" -j "$(nproc)" >&2
  touch "$stamp"
fi
echo "$folder/cmake/bin"
