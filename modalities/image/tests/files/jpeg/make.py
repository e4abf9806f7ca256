"""Write small JPEGs of every type, and for each a PNG of the image that Pillow reads from it, upright and grey or RGB.

    pip install pillow==13.0.0 numpy
    apt-get install libjpeg-turbo-progs      # cjpeg 2.1.5, for types that Pillow does not write
    python make.py .
"""
import io
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image, ImageOps

out = sys.argv[1]


def image(w, h):  # waves, some noise, and an edge
    y, x, c = np.mgrid[0:h, 0:w, 0:3].astype(float)
    waves = 127 + 60 * np.sin(x * 0.3 + 2 * c) + 50 * np.cos(y * 0.4 - c)
    noise = np.random.default_rng(7).normal(0, 12, (h, w, 3))
    return Image.fromarray((np.where(x > 0.7 * w + y / 2, 255 - waves, waves) + noise).clip(0, 255).astype(np.uint8))


def keep(name, data):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    image = image if image.mode == "L" else image.convert("RGB")
    open(f"{out}/{name}.jpg", "wb").write(data)
    image.save(f"{out}/{name}.png", optimize=True)


def pillow(image, **settings):
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 85, **settings})
    return file.getvalue()


def cjpeg(image, *settings):
    ppm = io.BytesIO()
    image.save(ppm, "PPM")
    command = ["cjpeg", "-quality", "85", *settings]
    return subprocess.run(command, input=ppm.getvalue(), capture_output=True, check=True).stdout


def scans(image, script):
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(script)
        file.flush()
        return cjpeg(image, "-scans", file.name)


odd = image(37, 27)
for name, subsampling in [("444", 0), ("422", 1), ("420", 2)]:
    keep(name, pillow(odd, subsampling=subsampling))
    keep(f"{name}-progressive", pillow(odd, subsampling=subsampling, progressive=True))
    keep(f"{name}-pixel", pillow(image(1, 1), subsampling=subsampling))
keep("420-row", pillow(image(31, 1)))
keep("420-column", pillow(image(1, 31)))
keep("420-best", pillow(odd, quality=100))
keep("420-worst", pillow(odd, quality=5))
keep("420-restarts", pillow(odd, restart_marker_blocks=2))
keep("420-trailing-bytes", pillow(odd) + b"more")
keep("440", cjpeg(odd, "-sample", "1x2"))
keep("411", cjpeg(odd, "-sample", "4x1"))
keep("410", cjpeg(odd, "-sample", "4x2"))
keep("arithmetic", cjpeg(odd, "-arithmetic"))
keep("scan-each", scans(odd, "0;1;2;"))
keep("last-scans-missing", scans(odd, "0,1,2: 0-0, 0, 1; 0: 1-5, 0, 2;"))
keep("grey", pillow(odd.convert("L")))
keep("grey-progressive", pillow(odd.convert("L"), progressive=True))
keep("rgb", pillow(odd, keep_rgb=True))
cmyk = pillow(odd.convert("CMYK"))
keep("cmyk", cmyk)
adobe = cmyk.index(b"Adobe") + 11  # the colour transform: 0 is CMYK, 2 is YCCK
keep("ycck", cmyk[:adobe] + bytes([2 - cmyk[adobe]]) + cmyk[adobe + 1:])
for orientation in range(2, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    keep(f"orientation-{orientation}", pillow(image(19, 11), exif=exif.tobytes()))
