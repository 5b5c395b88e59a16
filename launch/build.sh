#!/usr/bin/env bash
# Installs what is missing, then configures and builds.
#
#     launch/build.sh [PRESET] [NINJA-TARGET...]      PRESET: release (default), debug, gpu, asan, tsan
#
# TRIREME_EXTRA_PACKAGES names further Debian packages to install.  Needs no network once all are installed.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=${1:-release}
shift || true

packages=(
  cmake g++ ninja-build pkg-config ccache
  openmpi-bin libopenmpi-dev libhdf5-dev libgoogle-glog-dev
  libtomlplusplus-dev nlohmann-json3-dev libcli11-dev libxxhash-dev libzstd-dev zlib1g-dev
  libpcre2-dev libsentencepiece-dev libutf8proc-dev
  libgtest-dev libgmock-dev libbenchmark-dev
)
read -r -a extra <<<"${TRIREME_EXTRA_PACKAGES:-}"
packages+=("${extra[@]}")

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
done
if ((${#missing[@]} > 0)); then
  echo "Installing ${missing[*]}"
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
      echo "build.sh: these packages are missing and need root to install: ${missing[*]}" >&2
      exit 1
    }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=550 update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=550 install -q -y --no-install-recommends "${missing[@]}"
fi

cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset" ${1:+--target "$@"}
