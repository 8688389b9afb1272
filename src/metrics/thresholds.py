"""Descriptor distances that 1 % of pairs of different people reach, by age: measured, not looked up."""

#: For `DlibEmbedder`, on 250 photographs of 128 px of each band (31,125 pairs; All-Age-Faces, train split):
#: first age of the band -> distance. Resampled over photographs, 95 % lie within 0.016 of these. dlib's usual
#: 0.6 is undercut by 68 % of the pairs of children and by 30 % of those of adults.
#: They hold at any size of the crop: enlarged to 512 px all bands are within 0.002 of these (--side 512), and
#: 200 originals of such people have the same limits as what is left of them at 128 px.
#: Measured with: python benchmarks/impostors.py --photos 250 --seed 0
DLIB_RECOGNITION: dict[int, float] = {
    0: 0.339,
    10: 0.394,
    20: 0.429,
    30: 0.443,
    40: 0.444,
    50: 0.449,
    60: 0.435,
    70: 0.448,
}

#: The same of family albums (507 photographs of 41 people in FG-NET), whom dlib's network tells apart better,
#: and not for their size: 16,153, 15,744, 2,389 and 747 pairs. Resampled over people, 95 % lie within 0.02 of
#: these below 20 and within 0.034 above; from 40 on there are too few people.
#: Measured with: python benchmarks/impostors.py --fgnet ../shared/data/fgnet --side 512
DLIB_FAMILY_ALBUMS: dict[int, float] = {0: 0.423, 10: 0.543, 20: 0.570, 30: 0.601}
