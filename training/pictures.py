"""Drawings and photographs of things, cut out of Debian's packages as icons/pictures.json lists them: OUT/KIND/NN.png, 96 px.

    python pictures.py OUT [--packages DIR]

DIR holds the packages, as `apt-get download` names them; without it they are fetched, 470 MB, each deleted once it is read.
Needs Debian 12 for that, and dpkg-deb and rsvg-convert (librsvg2-bin) anyhow. Knows pixels, not scenes, nor whether a picture shows its kind.
"""

import argparse
import io
import json
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

LIST = Path(__file__).parent / "icons/pictures.json"
LARGE = 96
FAINT = 25  # an alpha up to here is not seen
WHITE = 228  # so bright are all three colours of white ground
PIXELS = {"px": 1.0, "pt": 96 / 72, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}


class Missing(Exception):
    """What is not there, and what to do about it."""


def main() -> None:
    args = read_arguments()
    listed = json.loads(LIST.read_text())["packages"]
    written: Counter[str] = Counter()
    for package, version in dict.fromkeys((entry["package"], entry["version"]) for entry in listed):
        entries = [entry for entry in listed if entry["package"] == package]
        with tempfile.TemporaryDirectory() as folder:
            archive = find(args.packages, package, version) if args.packages else fetch(Path(folder), package, version)
            files = unpack(archive, entries)
        for entry in entries:
            for kind, path, element in draws(entry):
                (args.out / kind).mkdir(parents=True, exist_ok=True)
                cut_out(files[path], path, element, entry).save(args.out / kind / f"{written[kind]:02d}.png")
                written[kind] += 1
        print(f"{package}: {written.total()} pictures so far", flush=True)
    print(f"{written.total()} pictures of {len(written)} kinds in {args.out}")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cuts the pictures that icons/pictures.json lists out of Debian's packages.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--packages", type=Path, help="a folder of .deb files, in place of fetching them")
    args = parser.parse_args()
    if any(args.out.glob("*")):  # pictures of an older list would pass for some of this one
        parser.error(f"{args.out} is not empty; delete it or name another folder")
    return args


def draws(entry: dict) -> list[tuple[str, str, str]]:
    """[(kind, path, id of the one element that is drawn, or nothing)]"""
    pairs = (item.split("=", 1) for item in entry["draws"].split())
    return [(kind, *f"{entry['folder']}/{path}".partition("#")[::2]) for kind, path in pairs]


def find(folder: Path, package: str, version: str) -> Path:
    name = f"{package}_{version.replace(':', '%3a')}_*.deb"
    if not (found := list(folder.glob(name))):
        raise Missing(f"{folder} has no {name}; put it there with `apt-get download {package}={version}`")
    return found[0]


def fetch(folder: Path, package: str, version: str) -> Path:
    command = ["apt-get", "download", "-q", f"{package}={version}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        advice = "run `apt-get update` on Debian 12, or get that .deb elsewhere (snapshot.debian.org) and give its folder as --packages"
        raise Missing(f"{' '.join(command)} failed: {done.stderr.strip()}; {advice}")
    return find(folder, package, version)


def unpack(archive: Path, entries: list[dict]) -> dict[str, bytes]:
    """The files that the entries name, by their paths in the package or in its resource files."""
    wanted = {path for entry in entries for _, path, _ in draws(entry)}
    resources = next((entry["resources"] for entry in entries if "resources" in entry), None)
    files: dict[str, bytes] = {}
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as unpacked:
        with tarfile.open(fileobj=unpacked.stdout, mode="r|") as tar:
            for member in tar:
                path = member.name.removeprefix("./")
                if path in wanted:
                    files[path] = tar.extractfile(member).read()
                elif resources and path.startswith(f"{resources}/") and path.endswith(".rcc"):
                    inside = read_resources(tar.extractfile(member).read())
                    files |= {name: data for name, data in inside.items() if name in wanted}
    if lost := sorted(wanted - files.keys()):
        raise Missing(f"{archive.name} lacks {len(lost)} files, {lost[0]} first; take the version that {LIST.name} names")
    return files


def read_resources(data: bytes) -> dict[str, bytes]:
    """The files in one of Qt's binary resource files, of format 2 or 3: a tree of entries, their names, and blocks of data."""
    magic, version, tree, blocks, names = struct.unpack_from(">4sIIII", data)
    if magic != b"qres" or version not in (2, 3):
        raise Missing(f"a resource file is {magic!r} {version}, not b'qres' 2 or 3; take the package's version that {LIST.name} names")
    files: dict[str, bytes] = {}

    def walk(index: int, parent: str) -> None:
        name_at, flags, first, second = struct.unpack_from(">IHII", data, tree + 22 * index)
        length = struct.unpack_from(">H", data, names + name_at)[0]
        start = names + name_at + 6  # behind the length and a hash
        path = f"{parent}/{data[start : start + 2 * length].decode('utf-16-be')}".removeprefix("/") if index else ""
        if flags & 2:  # a folder: how many entries, and the first of them
            for child in range(second, second + first):
                walk(child, path)
        else:
            start = blocks + second + 4
            block = data[start : start + struct.unpack_from(">I", data, start - 4)[0]]
            files[path] = zlib.decompress(block[4:]) if flags & 1 else block

    walk(0, "")
    return files


def cut_out(data: bytes, path: str, element: str, entry: dict) -> Image.Image:
    """RGBA of straight alpha, cropped to what is seen, the longer side LARGE."""
    try:
        picture = rendered(data, element) if Path(path).suffix in (".svg", ".svgz") else Image.open(io.BytesIO(data))
        if entry.get("cut"):
            picture = without_ground(picture.convert("RGB"))
        if entry.get("half"):
            picture = picture.crop((0, 0, picture.width // 2, picture.height))
        return fit(picture.convert("RGBA"))
    except (OSError, Missing, subprocess.CalledProcessError) as error:
        raise Missing(f"{path} could not be drawn: {error}; see whether rsvg-convert runs and {entry['package']} is whole") from error


def rendered(data: bytes, element: str) -> Image.Image:
    """Large enough to be made smaller: a drawing may be a corner of its page, and an element's box hold much that is not seen."""
    svg = with_view(zlib.decompress(data, 31) if data[:2] == b"\x1f\x8b" else data)
    side, limit = 300, 12_000 if element else 3_000
    for _ in range(3):
        command = ["rsvg-convert", "--unlimited", "-a", "-w", str(side), "-h", str(side), *(["-i", element] if element else [])]
        picture = Image.open(io.BytesIO(subprocess.run(command, input=svg, capture_output=True, check=True).stdout)).convert("RGBA")
        longest = max(crop(picture).size)
        if longest >= 190 or side == limit:
            break
        side = min(limit, -(-side * 250 // longest))
    return picture


def with_view(svg: bytes) -> bytes:
    """Without a viewBox, librsvg would cut a page off and not make it larger."""
    tag = re.search(rb"<svg\b[^>]*>", svg)[0]
    sides = [re.search(rb"\s%s\s*=\s*[\"']\s*([\d.]+)\s*(px|pt|pc|mm|cm|in)?\s*[\"']" % name, tag) for name in (b"width", b"height")]
    if b"viewBox" in tag or not all(sides):
        return svg
    width, height = (float(side[1]) * PIXELS[(side[2] or b"px").decode()] for side in sides)
    return svg.replace(tag, tag.replace(b"<svg", b'<svg viewBox="0 0 %g %g"' % (width, height), 1), 1)


def without_ground(picture: Image.Image) -> Image.Image:
    """Takes away the white that the border is part of, and a pixel more, which is half white."""
    picture.thumbnail((300, 300))
    white = Image.fromarray(np.uint8(np.asarray(picture).min(2) >= WHITE) * 255)
    ground = ImageOps.expand(white, 1, 255)
    ImageDraw.floodfill(ground, (0, 0), 128)
    thing = ImageOps.crop(ground.point(lambda value: 0 if value == 128 else 255), 1)
    picture.putalpha(thing.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(0.6)))
    return picture


def fit(picture: Image.Image) -> Image.Image:
    # Made smaller, an edge may no longer be seen: then once more.
    for _ in range(3):
        picture = crop(picture)
        if (longest := max(picture.size)) == LARGE:
            break
        width, height = (max(1, round(side * LARGE / longest)) for side in picture.size)
        picture = picture.resize((width, height), Image.LANCZOS)  # which Pillow does premultiplied
    return picture


def crop(picture: Image.Image) -> Image.Image:
    box = picture.getchannel("A").point(lambda alpha: 255 if alpha > FAINT else 0).getbbox()
    if box is None:
        raise Missing("nothing is seen of it")
    return picture.crop(box)


if __name__ == "__main__":
    try:
        main()
    except (Missing, OSError, tarfile.TarError) as error:
        sys.exit(f"pictures.py: {error}")
