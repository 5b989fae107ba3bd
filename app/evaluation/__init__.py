"""How well segmentations agree with reference masks: for each case, over cases, and between methods."""
