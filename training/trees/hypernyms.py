"""Write `shared/cards/wordnet.npz`: what each of WordNet's nouns is a kind of.

python -m training.trees.hypernyms
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from shared.settings import REPOSITORY
from training.trees.wordnet import FOLDER, WordNet

FILE = REPOSITORY / "shared" / "cards" / "wordnet.npz"


@click.command(help=__doc__)
@click.option("--wordnet", type=click.Path(path_type=Path), default=FOLDER, show_default=True)
def main(wordnet: Path) -> None:
    arrays = table(WordNet.load(wordnet))
    np.savez_compressed(FILE, synsets=arrays["synsets"], pairs=arrays["pairs"])
    click.echo(f"{FILE}: {len(arrays['synsets'])} synsets, {len(arrays['pairs'])} pairs, {FILE.stat().st_size} bytes")


def table(nouns: WordNet) -> dict[str, NDArray[np.uint32]]:
    """`synsets` (S offsets, ascending) and `pairs` (P x 2 places among them: a synset and its hypernym)."""
    wnids = sorted(nouns.synsets)
    place = {wnid: number for number, wnid in enumerate(wnids)}
    pairs = [(place[wnid], place[above]) for wnid in wnids for above in nouns.synsets[wnid].hypernyms]
    return {
        "synsets": np.array([int(wnid.removeprefix("n")) for wnid in wnids], np.uint32),
        "pairs": np.array(pairs, np.uint32),
    }


if __name__ == "__main__":
    main()
