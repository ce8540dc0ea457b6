"""Facts of the archive to which the phantom is calibrated: its notes, and a second reading of the same patients.

Measured on the public files: the notes (doi:10.17632/s6bgczr8s2), bulge boxes on the sagittal T2 images, and Pfirrmann
grades. Shares unless another unit is named; levels from below.
"""

#: Share of abnormal discs by the notes, of 451 patients whose note is unambiguous.
ABNORMAL = {"L5-S1": 0.424, "L4-L5": 0.601, "L3-L4": 0.166, "L2-L3": 0.031, "L1-L2": 0.016}

#: Kinds at the 639 abnormal levels of all notes; a level may have two, a tear never stands alone.
KINDS = {"bulge": 0.78, "protrusion": 0.23, "annular tear": 0.05, "sequestration or extrusion": 0.013}

#: What the notes add at those levels: what the disc presses on.
PRESSED = {"thecal sac": 0.84, "foramen": 0.44, "nerve root": 0.32}

LOWEST = ("L5-S1", "L4-L5", "L3-L4")  #: discs that studies image, and that both readings cover

#: Two independent readings: on the three lowest discs, and on all five.
AGREEMENT = {"three lowest": 0.786, "all five": 0.836}
KAPPA = {"three lowest": 0.58, "all five": 0.62}
#: The second reading of the three lowest discs, against the notes.
SECOND_SENSITIVITY, SECOND_FALSE_POSITIVES = 0.91, 0.29

#: AUC against the notes, of the Pfirrmann grade (three lowest discs) and of a disc's level alone.
GRADE_AUC = 0.72
LEVEL_AUC = {"three lowest": 0.70, "all five": 0.84}

#: Correlation of the labels of two discs of one patient: L3-L4 with L4-L5; the other pairs have about the lower.
CORRELATION = (0.0, 0.28)
