#!/usr/bin/env bash
# Test the CPU's kernels for AVX512-BF16, AVX512-VNNI and AMX on a processor that has none of them:
#
#     tests/emulated.sh [PROGRAM]
#
# The emulator Bochs runs a Xeon of the Sapphire Rapids generation, which boots Linux, which runs the tests of the kernels.
# PROGRAM holds the tests of the library; the default is built here: `cargo test --release --workspace --lib --no-run`.
#
# Needs Debian. The emulator and Linux come from Debian 13, 115 MB, into $CARGO_TARGET_DIR/emulator, and nothing is installed.
# Takes a minute, and half a minute more the first time, beside the build. The exit code is 1 if a test fails, or if a kernel
# was not among those tested.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/smalti/target}
place=$CARGO_TARGET_DIR/emulator
root=$place/root
# Without two larger tests: with `a_product_is…` and `kernels_in_bf16` a run did not end in seven minutes on a busy machine.
tests=(product_bf16 quantized --skip a_product_is_that_of_the_dequantized_weight)
kernels=(AMX AVX512-BF16 AVX-512 Avx512Vnni AVX2 Avx2 portable)
# `setcpuid=`, see below, came with Linux 6.15. Debian 13 itself has 6.12; its backports keep several versions.
linux=linux-binary-7.2.12+deb13-cloud-amd64

fail() {
  echo "$*" >&2
  exit 1
}

# Debian 13's packages, by an apt of its own that takes nothing for installed.
packages() {
  local action=$1 keys=/usr/share/keyrings/debian-archive-keyring.gpg mirror
  shift
  mirror=$(apt-get indextargets --format '$(REPO_URI)' | awk '!/security/ && !found++') # the one this machine uses
  mkdir -p "$place"/apt/{lists,archives}/partial
  : >"$place/apt/status"
  printf 'deb [signed-by=%s] %s %s main\n' "$keys" "$mirror" trixie "$keys" "$mirror" trixie-backports \
    >"$place/apt/sources.list"
  apt-get -qq "$action" -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o Debug::NoLocking=true \
    -o Dir::Etc::SourceList="$place/apt/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State="$place/apt" \
    -o Dir::State::lists="$place/apt/lists" -o Dir::State::status="$place/apt/status" -o Dir::Cache="$place/apt" "$@"
}

fetch() {
  rm -rf "$place"
  packages update
  packages install --download-only --yes bochs bochs-sdl busybox-static isolinux syslinux-common xorriso >/dev/null
  (cd "$place/apt/archives" && packages download "$linux")
  mkdir "$root"
  local package
  for package in "$place"/apt/archives/*.deb; do
    dpkg-deb --extract "$package" "$root"
  done
  rm -r "$place/apt"
  touch "$place/complete"
}

# Runs a program of Debian 13 with its own libraries.
run() {
  local libraries=$root/usr/lib/x86_64-linux-gnu
  # Ten minutes is far more than any takes.
  BXSHARE=$root/usr/share/bochs LTDL_LIBRARY_PATH=$libraries/bochs/plugins SDL_VIDEODRIVER=dummy SDL_AUDIODRIVER=dummy \
    timeout 600 "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries:$libraries/pulseaudio" \
    "$root/usr/bin/$1" "${@:2}"
}

# The first files of Linux: the program, its libraries, and a shell that runs it and switches the computer off.
initial_files() {
  local files=$1 library
  mkdir -p "$files"/{bin,dev,proc,tmp}
  cp "$root/usr/bin/busybox" "$files/bin"
  strip -o "$files/program" "$program"
  for library in $(ldd "$program" | grep -o '/[^ ]*'); do
    mkdir -p "$files${library%/*}"
    cp -L "$library" "$files$library"
  done
  cat >"$files/init" <<INIT
#!/bin/busybox sh
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
exec >/dev/ttyS0 2>&1 </dev/null
busybox grep -m 1 'model name' /proc/cpuinfo
cd /tmp && /program --test-threads=1 --nocapture ${tests[*]} && echo all passed
busybox sleep 10 # until all is written, by the computer's own clock
busybox poweroff -f
INIT
  chmod +x "$files/init"
  (cd "$files" && find . | "$root/usr/bin/busybox" cpio -o -H newc 2>/dev/null)
}

# A disc that starts Linux.
# - Bochs has tiles, but not the trap by which Linux learns that a process uses them (XFD, feature 324, without which Linux
#   leaves tiles off). One process alone uses them here, so it can do without.
# - Code that Linux replaces after it has switched tiles on may run as it was before, so retpolines have to stay.
# - The BIOS cannot return from its system management mode with page tables of five levels.
disc() {
  mkdir -p "$1/isolinux"
  initial_files "$work/files" >"$1/isolinux/files"
  cp "$root"/usr/lib/modules/*/vmlinuz "$root/usr/lib/ISOLINUX/isolinux.bin" \
    "$root/usr/lib/syslinux/modules/bios/ldlinux.c32" "$1/isolinux"
  cat >"$1/isolinux/isolinux.cfg" <<'LINUX'
default linux
label linux
kernel vmlinuz
append initrd=files rdinit=/init quiet console=ttyS0 tsc=reliable nokaslr no5lvl setcpuid=324 spectre_v2=retpoline,generic
LINUX
  run xorriso -as mkisofs -quiet -o "$work/disc.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot \
    -boot-load-size 4 -boot-info-table "$1" 2>"$work/xorriso.log" || fail "$(cat "$work/xorriso.log")"
}

# Without AVX512CD, code that is compiled for AVX-512 as a whole takes AVX2: Bochs 3.0 refuses some scatter instructions.
computer() {
  cat >"$work/computer" <<BOCHS
display_library: sdl2
memory: guest=768, host=768
romimage: file=$root/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=$root/usr/share/vgabios/vgabios.bin
boot: cdrom
ata0-master: type=cdrom, path=$work/disc.iso, status=inserted
cpu: model=sapphire_rapids, exclude_features="avx512cd", ips=100000000, reset_on_triple_fault=0
clock: sync=none
com1: enabled=1, mode=file, dev=$work/serial
log: $work/log
panic: action=fatal
sound: driver=dummy
BOCHS
  # Bochs has exit codes of its own when the computer is switched off.
  run bochs-bin -q -f "$work/computer" >"$work/output" 2>&1 </dev/null || true
}

program=${1:-}
if [[ -z $program ]]; then
  built=$(cargo test --release --workspace --lib --no-run 2>&1) || fail "$built"
  program=$(grep -o "[^ (]*/deps/smalti-[0-9a-f]*" <<<"$built") || fail "no test program in: $built"
fi
[[ -e $place/complete ]] || fetch
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
disc "$work/disc"
computer
tr -d '\r' <"$work/serial" | sed -n '/^model name/,$p' | tee "$work/results"
grep -q '^test result' "$work/results" || fail "the emulator stopped: $(tail -n 5 "$work/serial" "$work/output" "$work/log")"
grep -q '^all passed$' "$work/results" || fail "tests failed in the emulator"
for kernel in "${kernels[@]}"; do
  grep -q "tested: $kernel" "$work/results" || fail "the kernel $kernel was not tested"
done
