"""Pre-trainings of each objective: the same slices, views, network and steps, and the same seeds."""

from pathlib import Path
from typing import get_args

import keras
import pandas as pd

from lhdlib.data.dataset import Dataset
from lhdlib.model import losses, pretrain
from lhdlib.profile import Pretrain, Profile

OBJECTIVES: tuple[str, ...] = get_args(Pretrain.__annotations__["objective"])  #: the paper's first
#: Objective -> where it was published.
SOURCES = {
    "inner-product": "Hou et al. 2023, Eq. 5 and 6",
    "nt-xent": "Chen et al. 2020, arXiv:2002.05709",
    "vicreg": "Bardes et al. 2022, arXiv:2105.04906",
    "barlow-twins": "Zbontar et al. 2021, arXiv:2103.03230",
    "supcon": "Khosla et al. 2020, arXiv:2004.11362",
}


def pretrained_with(
    name: str, data: Dataset, profile: Profile, seed: int, *, kept: Path, folder: Path
) -> list[tuple[keras.Model, pd.DataFrame, str]]:
    """Encoders, histories and keys of as many pre-trainings as ``beyond.pretrainings`` says (`pretrain.pretrained`).

    Parameters
    ----------
    name
        One of `OBJECTIVES`.
    seed
        Of the first; those of the others follow.
    kept
        Where `pretrain.repeated` has those of the paper's objective, which are not trained again.
    folder
        Keeps all others.
    """
    chosen, found = profile.replace(pretrain={"objective": name}), []
    for number in range(profile.beyond.pretrainings):
        root = folder / name / f"seed{seed + number}"
        if name == losses.PAPERS and number < profile.finetune.encoders:
            root = kept / f"seed{seed + number}" if number else kept
        found.append(pretrain.pretrained(data, chosen, seed + number, root))
    return found
