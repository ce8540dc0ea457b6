"""Values that Hou et al. (2023), doi:10.1007/s40747-023-00981-0, state; each with its place in the paper.

Profile "paper" repeats Tables 1 and 2, and a test compares them; no other result of the paper stands elsewhere.
"""

CITATION = (
    "Hou C, Li X, Wang H, Zhang W, Liu F, Liu D, Pan Y (2023) An MRI image automatic diagnosis model for lumbar disc "
    "herniation using semi-supervised learning. Complex & Intelligent Systems 9:5567-5584. "
    "doi:10.1007/s40747-023-00981-0"
)

#: Counts, section "Construction of the dataset".
COUNTS = {
    "patients": 515,
    "images": 48_345,
    "axial images": 17_219,
    "pre-training images": 16_707,
    "pre-training validation images": 512,
    "disc samples": 3_676,
    "positive samples": 1_706,
    "negative samples": 1_970,
    "training samples": 3_036,
    "validation samples": 128,
    "test samples": 512,
}

#: Table 1, hyper-parameters of the unsupervised pre-training stage.
TABLE1 = {"lr": 1e-4, "b": 32, "w": 1e-4, "τ": 100.0, "dr": 0.0, "θ (°)": 18.0, "p_crop": 0.1}

#: Table 2, hyper-parameters of the supervised fine-tuning stage.
TABLE2 = {"lr": 1e-4, "b": 32, "w": 0.0}

#: Table 3: (w, dr) -> accuracy, sensitivity, specificity, AUC.
TABLE3 = {
    (0.0, 0.0): {"ACC": 0.8613, "TPR": 0.9180, "TNR": 0.8047, "AUC": 0.9467},
    (1e-4, 0.0): {"ACC": 0.8711, "TPR": 0.8750, "TNR": 0.8672, "AUC": 0.9487},
    (1e-4, 0.25): {"ACC": 0.8711, "TPR": 0.8750, "TNR": 0.8672, "AUC": 0.9364},
    (1e-4, 0.5): {"ACC": 0.8184, "TPR": 0.8320, "TNR": 0.8047, "AUC": 0.9159},
}

#: The setting chosen in section "Effect of regularization level", whose result is the paper's headline (abstract).
CHOSEN = (1e-4, 0.0)

#: Label counts of Fig. 9; the last is the whole training set.
LABEL_COUNTS = (1_024, 1_536, 2_016, 2_528, 3_036)

#: Neighbouring counts whose metric may "change marginally": the paper excepts them from the rise.
LABELS_ALIKE = {"ACC": (2_528, 3_036), "AUC": (1_024, 1_536)}

#: Section "Effect of the number of labels": epochs of fine-tuning and of the supervised baseline, its learning rate.
FINETUNE_EPOCHS = 200
SUPERVISED_EPOCHS = 370
SUPERVISED_LR = 1e-4

#: Input size W = H ("Experimental environment and training parameters") and feature dimension d (section
#: "Unsupervised pre-training stage").
IMAGE_SIZE = 300
FEATURE_DIM = 256

#: Range of the brightness and contrast factors (text before Eq. 13 and 14), of the blur's sigma in pixels, and the
#: blur's kernel size as a share of the image size (text after Eq. 15).
BRIGHTNESS = (0.6, 1.4)
CONTRAST = (0.6, 1.4)
BLUR_SIGMA = (0.1, 2.0)
BLUR_KERNEL = 0.05

#: Constraint (5): aspect ratio of the crop; and the retry limit (text after Eq. 12).
ASPECT = (3 / 4, 4 / 3)
MAX_TRIES = 100
