"""Descriptor distances that 1 % of pairs of different people reach, by age: measured, not looked up."""

#: For `DlibEmbedder`, on 250 photographs of 128 px of each band (31,125 pairs; All-Age-Faces, train split):
#: first age of the band -> distance. Resampled over photographs, 95 % lie within 0.016 of these. dlib's usual
#: 0.6 is undercut by 68 % of the pairs of children and by 30 % of those of adults.
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
