"""OHIF before an Orthanc, in a Chromium without a screen; JavaScript readers of DICOM in Node."""
