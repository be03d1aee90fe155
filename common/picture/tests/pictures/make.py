"""Makes the fixtures of tests/pictures.rs with Pillow and torchvision; run from this folder.

Every picture NAME comes with what Pillow makes of it:
  decoded/NAME.png         decoded, turned upright and converted to RGB
  prepared/NAME.SPEC.png   resized and cropped by torchvision from the decoded picture; SPEC is MODE_SIZE_CROP,
                           or MODE_SIZE_squash where the whole picture is resized to a square
"""

import pathlib
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

DEMO = pathlib.Path("../../../../demo/pictures")
ORIENTATION = 0x112


def exif(orientation):
    data = Image.Exif()
    data[ORIENTATION] = orientation
    return data


def inputs():
    """Small pictures of every kind that the converter reads."""
    cat = Image.open(DEMO / "cat.jpg").convert("RGB")
    small = cat.crop((120, 60, 220, 135)).copy()  # 100 × 75
    grey = small.convert("L")
    yield "quality50_420.jpg", small, dict(quality=50, subsampling=2)
    yield "quality90_422.jpg", small, dict(quality=90, subsampling=1)
    yield "quality95_444.jpg", small, dict(quality=95, subsampling=0)
    yield "progressive.jpg", small, dict(quality=85, progressive=True)
    yield "odd_size.jpg", small.crop((0, 0, 37, 53)), dict(quality=90)
    yield "restart.jpg", small, dict(quality=80, restart_marker_blocks=3)
    yield "grey.jpg", grey, dict(quality=90)
    yield "cmyk.jpg", small.convert("CMYK"), dict(quality=95)
    yield "one_pixel.jpg", small.crop((0, 0, 1, 1)), {}
    for orientation in range(1, 9):
        yield f"orientation{orientation}.jpg", small.crop((0, 0, 24, 16)), dict(quality=95, exif=exif(orientation))
    yield "orientation6.png", small.crop((0, 0, 24, 16)), dict(exif=exif(6))
    yield "rgb.png", small, {}
    yield "grey.png", grey, {}
    yield "palette.png", small.quantize(32), {}
    yield "black_and_white.png", small.convert("1"), {}
    yield "one_pixel.png", small.crop((0, 0, 1, 1)), {}
    yield "wide.png", small.crop((0, 0, 100, 2)), {}
    yield "tall.png", small.crop((0, 0, 1, 75)), {}
    alpha = Image.fromarray((np.arange(75 * 100, dtype=np.uint32).reshape(75, 100) * 7 % 256).astype(np.uint8))
    rgba = small.convert("RGBA")
    rgba.putalpha(alpha)
    yield "rgba.png", rgba, {}
    grey_alpha = grey.convert("LA")
    grey_alpha.putalpha(alpha)
    yield "grey_alpha.png", grey_alpha, {}
    yield "rgb.bmp", small.crop((0, 0, 33, 21)), {}
    yield "grey.bmp", grey.crop((0, 0, 33, 21)), {}


def rgb16_png(samples):
    """A PNG of 16 bits a sample, which Pillow reads but does not write; `samples` is [height, width, 3] of u16."""
    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PREPARED = [
    ("cat.jpg", "bicubic", 224, 0.9),
    ("cat.jpg", "bilinear", 96, 0.875),
    ("cat.jpg", "bicubic", 32, 1.0),
    ("horse.png", "bicubic", 64, 0.9),
    ("hubble_deep_field.jpg", "bicubic", 96, 0.95),
    ("eagle.jpg", "bicubic", 96, 0.875),
    ("rgb.png", "bicubic", 160, 0.9),
    ("rgb.png", "bicubic", 40, 0.875),
    ("rgb.png", "bilinear", 32, 0.9),
    ("wide.png", "bicubic", 33, 0.9),
    ("tall.png", "bilinear", 17, 1.0),
    ("one_pixel.png", "bicubic", 5, 0.9),
    ("rgb.png", "bicubic", 40, "squash"),
    ("horse.png", "bilinear", 64, "squash"),
    ("tall.png", "bicubic", 17, "squash"),
]


def upright(path):
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def main():
    for folder in ("inputs", "decoded", "prepared"):
        pathlib.Path(folder).mkdir(exist_ok=True)
    for name, image, options in inputs():
        image.save(f"inputs/{name}", **options)
    ramp = np.arange(20 * 30 * 3, dtype=np.uint32).reshape(20, 30, 3) * 36 % 65536
    pathlib.Path("inputs/rgb16.png").write_bytes(rgb16_png(ramp.astype(np.uint16)))
    for path in sorted(pathlib.Path("inputs").iterdir()):
        upright(path).save(f"decoded/{path.name}.png", optimize=True)
    for name, mode, size, crop in PREPARED:
        source = pathlib.Path("inputs") / name
        if crop == "squash":
            steps = Resize((size, size), InterpolationMode(mode))
        else:
            steps = Compose([Resize(int(size / crop), InterpolationMode(mode)), CenterCrop(size)])
        image = steps(upright(source if source.exists() else DEMO / name))
        image.save(f"prepared/{name}.{mode}_{size}_{crop}.png", optimize=True)


if __name__ == "__main__":
    main()
