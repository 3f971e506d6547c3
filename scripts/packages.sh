# Sourced by the other scripts: the Debian packages they need, and their installation.

build_packages=(g++ cmake ninja-build pkg-config ccache libhwy-dev libtbb-dev libfmt-dev libcli11-dev nlohmann-json3-dev libgtest-dev
  libboost-context-dev python3 python3-numpy)
test_packages=(clang libclang-rt-14-dev clang-format python3-venv binutils chromium)
python_packages=(python3-dev python3-venv)
full_packages=(clang-tidy qemu-user g++-aarch64-linux-gnu)

installed() {
  dpkg-query -W -f '${Status}\n' "$1" 2>/dev/null | grep -q 'install ok installed'
}

# need_packages PACKAGE...: installs what is missing if this is root, else says how to and exits with 2.
need_packages() {
  local package missing=()
  for package in "$@"; do
    installed "$package" || missing+=("$package")
  done
  echo "Debian packages needed: $*"
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  if [ "$(id -u)" -ne 0 ]; then
    echo "Some are missing. Install them, then run this again:"
    echo "  sudo apt-get install --yes ${missing[*]}"
    exit 2
  fi
  echo "Installing: ${missing[*]}"
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
}
