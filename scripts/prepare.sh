# Sourced by the other scripts: puts what a bare Debian 12 or Ubuntu 24.04 lacks in place, and says what it does.
# Needs root (or sudo) only where a package is missing.

say() { printf '== %s\n' "$*" >&2; }

# Where built things go: outside of the checkout, so that every checkout on this machine shares them.
MEMOIR_CACHE="${MEMOIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memoir}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$MEMOIR_CACHE/target}"

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    say "missing: $*; run it as root first"
    exit 1
  fi
}

# install_packages PACKAGE...: the Debian packages that are not there yet.
install_packages() {
  local missing=()
  for package in "$@"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    say "this is no Debian or Ubuntu: install the equivalents of ${missing[*]} by hand"
    return 0
  fi
  say "installing Debian packages: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# A C++ compiler for RocksDB, libclang for its bindings, and cargo.
prepare_build() {
  install_packages build-essential libclang-dev ca-certificates
  if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    export PATH="$HOME/.cargo/bin:$PATH"
  fi
  if ! command -v cargo >/dev/null; then
    install_packages curl
    say "installing the Rust toolchain with rustup (into ~/.cargo and ~/.rustup)"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain none
    export PATH="$HOME/.cargo/bin:$PATH"
  fi
}

# Builds the binary and sets MEMOIR to its path.
build_memoir() {
  say "building memoir (the first time takes about 20 minutes on two cores)"
  cargo build --release --locked --workspace --bins
  MEMOIR="$CARGO_TARGET_DIR/release/memoir"
}

# A Python with an independent Delta reader, for the tests that read what Memoir wrote.
prepare_reader() {
  local venv="$MEMOIR_CACHE/venv"
  if ! "$venv/bin/python" -c 'import deltalake' >/dev/null 2>&1; then
    install_packages python3 python3-venv
    say "installing the deltalake Python package into $venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet 'deltalake==1.6.6' 'pyarrow>=15'
  fi
  export MEMOIR_TEST_PYTHON="$venv/bin/python"
}

# cargo-deny, which checks licences and bans.
prepare_deny() {
  if ! cargo deny --version >/dev/null 2>&1; then
    say "installing cargo-deny"
    cargo install --quiet --locked cargo-deny@0.20.2
  fi
}
