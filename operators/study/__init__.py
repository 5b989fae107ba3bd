"""The first step: the input folder as cases, and of each case the PET and the CT that are measured."""
