#!/usr/bin/env bash
# The installed tree: only the C functions are exported; consumers in C++ (find_package) and C99 (pkg-config) build and run, from
# where it was installed and from where it is moved to.   run.sh BUILD_FOLDER
set -euo pipefail
unset LD_LIBRARY_PATH  # another libcumulus on it would be tested instead

build=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# check PREFIX: builds both consumers against the tree and runs them and the command line.
check() {
  local prefix=$1 out=$work/consumers
  rm -rf "$out"
  cmake -S "$here" -B "$out" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release --log-level=WARNING
  cmake --build "$out"
  "$out/consumer_cpp"

  local pc
  pc=$(dirname "$(find "$prefix" -name cumulus.pc)")
  # shellcheck disable=SC2046  # flags are words
  cc -std=c99 -pedantic -Wall -Wextra -Werror "$here/consumer.c" -o "$out/consumer_c" \
    $(PKG_CONFIG_PATH=$pc pkg-config --cflags --libs cumulus) -Wl,-rpath,"$(dirname "$pc")"
  "$out/consumer_c"

  "$prefix/bin/cumulus" --version
}

cmake --install "$build" --prefix "$work/first" >/dev/null

library=$(find "$work/first" -name libcumulus.so)
exported=$(nm -D --defined-only "$library" | awk '{print $3}')
if ! grep -q '^cumulus_' <<<"$exported"; then
  echo "nm shows no cumulus_ function that $library exports: what it exports cannot be told"
  exit 1
fi
foreign=$(grep -v '^cumulus_' <<<"$exported" || true)
if [ -n "$foreign" ]; then
  echo "libcumulus.so exports more than the C functions:" "$foreign"
  exit 1
fi
for file in "$library" "$work/first/bin/cumulus"; do
  needed=$(readelf -d "$file" | grep NEEDED || true)
  [ -n "$needed" ] || { echo "readelf shows no link dependencies of $file: what it depends on cannot be told"; exit 1; }
  if grep -iE 'cuda|nvrtc|nvidia' <<<"$needed"; then
    echo "a CUDA library is a link dependency of $file"
    exit 1
  fi
done
# Every function that the header declares is there.
declared=$(grep -oE '^CUMULUS_API [^(]*' "$work/first/include/cumulus/cumulus.h" | grep -oE 'cumulus_[a-z_]+$')
for function in $declared; do
  nm -D --defined-only "$library" | grep -q " T $function\$" || { echo "libcumulus.so does not export $function"; exit 1; }
done

check "$work/first"
mv "$work/first" "$work/moved"
check "$work/moved"
echo "installed tree: passed"
