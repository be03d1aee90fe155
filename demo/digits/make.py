"""Makes digits.png and digits.json from the copy of the data set in scikit-learn: python3 make.py

Needs the packages numpy, pillow and scikit-learn.
"""

import json
from pathlib import Path

import numpy
from PIL import Image
from sklearn.datasets import load_digits

FOLDER = Path(__file__).parent
SIDE = 8
LARGEST = 16

digits = load_digits()
values = digits.images.astype(int)
assert values.min() == 0 and values.max() == LARGEST
pixels = numpy.round(values * 255 / LARGEST).astype(numpy.uint8)

counts = [int((digits.target == digit).sum()) for digit in range(10)]
sheet = numpy.zeros((10 * SIDE, max(counts) * SIDE), numpy.uint8)
for digit in range(10):
    for column, picture in enumerate(pixels[digits.target == digit]):
        sheet[digit * SIDE : (digit + 1) * SIDE, column * SIDE : (column + 1) * SIDE] = picture
Image.fromarray(sheet).save(FOLDER / "digits.png", optimize=True)

description = {
    "title": "Optical Recognition of Handwritten Digits, test set",
    "creators": "E. Alpaydin, C. Kaynak",
    "year": 1998,
    "source": "https://doi.org/10.24432/C50P49",
    "licence": "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
    "changes": "The values 0 to 16 are stored as grey levels round(value * 255 / 16); the pictures are sorted by class.",
    "picture": [SIDE, SIDE],
    "classes": [{"name": str(digit), "count": count} for digit, count in enumerate(counts)],
    "held_out_every": 5,
}
(FOLDER / "digits.json").write_text(json.dumps(description, indent=2) + "\n")
