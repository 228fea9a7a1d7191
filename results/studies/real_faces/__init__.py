"""What AIM-Fair does on real faces, with unbiased images of four sources: a ResNet-18 from ImageNet weights.

    python -m results.study real_faces run --data data --weights resnet18.safetensors --jobs 12 --only "Smiling_Male/*"

--data holds celeba/ (CelebA's own layout), UTKFace/, t2i_faces/, utkface_smiles.csv and generated/ (stable_diffusion/generation.sh
--outdir data/generated), as far as the arms need them. A first look, and cheap: --only "Smiling_Male/erm*" "Smiling_Male/*/paper".
The test set plays no part before the pages are made. `--jobs N` keeps N processes at work, because a small network leaves a GPU idle.
On one H200 with 14 processes, half of all took twenty minutes; on two CPU cores it is many hours, also at 64 pixels.
"""

from results.studies import Study, words
from results.studies.real_faces.design import first_arms, then
from results.studies.real_faces.page import make_pages

STUDY = Study(
    title="Real faces",
    body=(),  # results/records/real_faces/README.md is written by hand
    common=words("--weights {weights} --image-size 112 --precision bf16"),
    arms=tuple(first_arms()),
    then=then,
    pages=make_pages,
)
