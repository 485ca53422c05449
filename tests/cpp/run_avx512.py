# SPDX-License-Identifier: MIT
"""Run the AVX-512 kernels as machine code, on a processor that Bochs emulates.

    python tests/cpp/run_avx512.py [--work FOLDER] [--compiler NAME] [--bochs PATH]
                                   [--kernel VMLINUZ] [--model NAME] [--minutes N]

Builds digests.cpp, kernels_agree.cpp and elementary_exhaustive.cpp statically, puts them with a
Linux kernel on a CD that boots, and lets Bochs run it; the programs compare AVX-512 with the stored
digests (one thread and three) and with the scalar kernels. Ends with 0 when all agree, with 1 when
something differs or does not come to its end, and with 0 and a reason when a tool is missing.

Debian has all of it: bochs bochs-term bochsbios vgabios busybox-static isolinux syslinux-common
xorriso, and any linux-image package, installed or unpacked (`dpkg-deb -x`, --kernel). But Debian's
Bochs 2.7 has a debugger in it and is several times slower: it has been seen to boot, no more. What
has run is Bochs from its repository (3.0.devel; minutes, of which booting takes one), made with

    ./configure --enable-x86-64 --enable-avx --enable-evex --enable-all-optimizations --with-term
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from check_digests import CASES, STORED, TARGETS, build

BIOS = Path("/usr/share/bochs/BIOS-bochs-latest")
VGA_BIOS = Path("/usr/share/bochs/VGABIOS-lgpl-latest")
LOADER = Path("/usr/lib/ISOLINUX/isolinux.bin")
LOADER_PART = Path("/usr/lib/syslinux/modules/bios/ldlinux.c32")
BUSYBOX = Path("/bin/busybox")
PROGRAMS = ("digests", "kernels_agree", "elementary_exhaustive")
STRIDE = 9973  # every so many floats go through each elementary function, and all edges

COMMANDS = f"""\
/digests /cases --expect /stored --threads 1
/kernels_agree
/elementary_exhaustive {STRIDE}
/digests /cases --expect /stored --threads 3
""".splitlines()

# The kernel starts this; /dev/console is in its own initramfs, and is the serial line.
REPORTED = "\n".join(f"report {command}" for command in COMMANDS)
INIT = f"""\
#!/busybox sh
/busybox mkdir /proc
/busybox mount -t proc proc /proc
echo "has: $(/busybox grep -m1 ^flags /proc/cpuinfo | /busybox grep -o 'avx[^ ]*' | /busybox xargs)"
report() {{
  "$@"
  echo "status $? after $(/busybox cut -d ' ' -f 1 /proc/uptime) s: $*"
}}
export SCHUSS_ISA=avx512
{REPORTED}
/busybox poweroff -f
"""

LOADER_CONFIGURATION = """\
DEFAULT linux
LABEL linux
  KERNEL /vmlinuz
  INITRD /initrd
  APPEND console=ttyS0,115200 quiet nokaslr mitigations=off tsc=reliable lpj=400000
"""

BOCHS_CONFIGURATION = """\
display_library: term
config_interface: textconfig
memory: guest=512, host=512
romimage: file={bios}
vgaromimage: file={vga_bios}
cpu: model={model}, ips=100000000, reset_on_triple_fault=0
clock: sync=none
ata0-master: type=cdrom, path={disc}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={serial}
log: {log}
panic: action=fatal
"""


def initramfs(files: dict[str, bytes]) -> bytes:
    """An archive of executable files, in the "newc" format of cpio."""
    archive = io.BytesIO()
    for name, content in [*files.items(), ("TRAILER!!!", b"")]:
        mode = stat.S_IFREG | 0o755
        numbers = [0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        archive.write(b"070701" + b"".join(b"%08x" % number for number in numbers))
        for part in (name.encode() + b"\0", content):
            archive.write(part)
            archive.write(b"\0" * (-archive.tell() % 4))
    return archive.getvalue()


def make_disc(work: Path, kernel: Path, programs: list[Path]) -> Path:
    files = {program.name: program.read_bytes() for program in programs}
    files |= {"cases": CASES.read_bytes(), "stored": STORED.read_bytes()}
    files |= {"busybox": BUSYBOX.read_bytes(), "init": INIT.encode()}
    folder = work / "disc"
    folder.mkdir(exist_ok=True)
    (folder / "initrd").write_bytes(initramfs(files))
    (folder / "isolinux.cfg").write_text(LOADER_CONFIGURATION)
    for source, name in [(kernel, "vmlinuz"), (LOADER, LOADER.name), (LOADER_PART, "ldlinux.c32")]:
        shutil.copyfile(source, folder / name)
    disc = work / "disc.iso"
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-o", str(disc), "-b", LOADER.name]
    command += ["-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
    subprocess.run([*command, str(folder)], check=True, stderr=subprocess.DEVNULL)
    return disc


def emulate(work: Path, bochs: str, model: str, disc: Path, minutes: float) -> str:
    """Boot the disc; what came out of the serial line."""
    names = {"bios": BIOS, "vga_bios": VGA_BIOS, "model": model, "disc": disc}
    names |= {"serial": work / "serial", "log": work / "log"}
    (work / "bochsrc").write_text(BOCHS_CONFIGURATION.format(**names))
    command = [bochs, "-q", "-f", str(work / "bochsrc")]
    help_page = subprocess.run([bochs, "--help"], capture_output=True, text=True)
    if "-rc " in help_page.stdout + help_page.stderr:  # it has a debugger, which waits for a word
        (work / "debugger").write_text("continue\n")
        command += ["-rc", str(work / "debugger")]
    ours, its = pty.openpty()  # the emulated screen wants a terminal
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment) as process:
        os.close(its)
        threading.Thread(target=drain, args=(ours,), daemon=True).start()
        try:
            process.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            process.kill()
            print(f"stopped after {minutes} minutes", file=sys.stderr)
    serial = work / "serial"
    return serial.read_text(errors="replace").replace("\r", "") if serial.exists() else ""


def drain(terminal: int) -> None:
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:  # the other end is closed
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--work", type=Path, help="keep the builds, the disc and the output here")
    parser.add_argument("--compiler", choices=("gcc", "clang"), default="gcc")
    parser.add_argument("--bochs", default="bochs")
    parser.add_argument("--kernel", type=Path, help="default: the newest of /boot/vmlinuz-*")
    parser.add_argument("--model", default="corei7_skylake_x", help="see bochs --help cpu")
    parser.add_argument("--minutes", type=float, default=60, help="stop after so many")
    arguments = parser.parse_args()
    kernels = sorted(Path("/boot").glob("vmlinuz-*"), key=lambda path: path.stat().st_mtime)
    kernel = arguments.kernel or (kernels[-1] if kernels else Path("/boot/vmlinuz"))
    for tool in (arguments.bochs, "xorriso", "cmake", TARGETS[arguments.compiler]):
        if not shutil.which(tool):
            print(f"{tool} is not installed: skipped")
            return 0
    for file in (kernel, BIOS, VGA_BIOS, LOADER, LOADER_PART, BUSYBOX):
        if not file.is_file():
            print(f"there is no {file}: skipped")
            return 0
    with tempfile.TemporaryDirectory() as temporary:
        work = (arguments.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        flags = "-DCMAKE_EXE_LINKER_FLAGS=-static -s"
        programs = [build(work, arguments.compiler, flags, program=name) for name in PROGRAMS]
        disc = make_disc(work, kernel, programs)
        said = emulate(work, arguments.bochs, arguments.model, disc, arguments.minutes)
    print(said)
    done = re.findall(r"^status 0 after [\d.]+ s: (.*)$", said, re.MULTILINE)
    return 0 if done == COMMANDS else 1


if __name__ == "__main__":
    sys.exit(main())
