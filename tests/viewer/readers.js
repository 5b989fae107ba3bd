// Reads a SEG, an SR or an RTSTRUCT with dcmjs and, where they read it, Cornerstone3D's adapters; prints what they
// found as JSON. Arguments: the file, then the images that it is about.
import fs from 'node:fs';
import { metaData } from '@cornerstonejs/core';
import { adaptersSEG, adaptersSR } from '@cornerstonejs/adapters';
import dcmjs from 'dcmjs';

const { DicomMessage, DicomMetaDictionary } = dcmjs.data;

const bytesOf = (path) => {
  const content = fs.readFileSync(path);
  return content.buffer.slice(content.byteOffset, content.byteOffset + content.length);
};
const read = (path) => DicomMetaDictionary.naturalizeDataset(DicomMessage.readFile(bytesOf(path)).dict);
const list = (value) => (value === undefined ? [] : Array.isArray(value) ? value : [value]);
const first = (value) => list(value)[0];

// What Cornerstone's own image loaders say of the images.
function images(paths) {
  const byId = new Map(paths.map(read).map((one) => [`image:${one.SOPInstanceUID}`, one]));
  const modules = {
    instance: (one) => one,
    generalImageModule: (one) => ({ sopInstanceUID: one.SOPInstanceUID, instanceNumber: one.InstanceNumber }),
    generalSeriesModule: (one) => ({ seriesInstanceUID: one.SeriesInstanceUID, modality: one.Modality }),
    sopCommonModule: (one) => ({ sopInstanceUID: one.SOPInstanceUID, sopClassUID: one.SOPClassUID }),
    imagePixelModule: (one) => ({ rows: one.Rows, columns: one.Columns, bitsAllocated: 8, samplesPerPixel: 1 }),
    imagePlaneModule: (one) => ({
      frameOfReferenceUID: one.FrameOfReferenceUID,
      rows: one.Rows,
      columns: one.Columns,
      imageOrientationPatient: one.ImageOrientationPatient,
      rowCosines: one.ImageOrientationPatient.slice(0, 3),
      columnCosines: one.ImageOrientationPatient.slice(3),
      imagePositionPatient: one.ImagePositionPatient,
      pixelSpacing: one.PixelSpacing,
      rowPixelSpacing: one.PixelSpacing[0],
      columnPixelSpacing: one.PixelSpacing[1],
    }),
  };
  const get = (kind, id) => modules[kind]?.(byId.get(id)) ?? undefined;
  metaData.addProvider((kind, id) => (byId.has(id) ? get(kind, id) : undefined));
  const place = (one) => one.ImagePositionPatient[2];
  const ids = [...byId].sort(([, one], [, other]) => place(one) - place(other)).map(([id]) => id);
  return { ids, byId };
}

async function segmentation(path, dataset, { ids }) {
  const found = await adaptersSEG.Cornerstone3D.Segmentation.createFromDICOMSegBuffer(ids, bytesOf(path), {
    metadataProvider: metaData,
  });
  const voxels = found.labelMapImages.flat().flatMap((image) => {
    const instance = image.referencedImageId.replace('image:', '');
    return [...image.voxelManager.getScalarData()].flatMap((value, at) => (value ? [[value, instance, at]] : []));
  });
  return {
    frames: Number(dataset.NumberOfFrames),
    segments: list(dataset.SegmentSequence).map((one) => ({
      number: one.SegmentNumber,
      label: one.SegmentLabel,
      tracking_uid: one.TrackingUID,
      type: first(one.SegmentedPropertyTypeCodeSequence).CodeMeaning,
    })),
    labels: found.segMetadata.data.filter(Boolean).map((one) => one.SegmentLabel),
    voxels,
  };
}

function report(dataset, { byId }) {
  const name = (item) => first(item.ConceptNameCodeSequence)?.CodeValue;
  const measurements = list(dataset.ContentSequence).find((item) => name(item) === '126010');
  const groups = list(measurements?.ContentSequence).filter((item) => name(item) === '125007');
  const imageIds = Object.fromEntries([...byId].map(([id, one]) => [`${one.SOPInstanceUID}:1`, id]));
  const { MeasurementReport } = adaptersSR.Cornerstone3D;
  return {
    groups: groups.map((group) => {
      const items = list(group.ContentSequence);
      return {
        identifier: items.find((item) => name(item) === '112039').TextValue,
        tracking_uid: items.find((item) => name(item) === '112040').UID,
        contours: items.filter((item) => item.ValueType === 'SCOORD').map((item) => item.GraphicData.length / 2),
        numbers: items.filter((item) => item.ValueType === 'NUM').map((item) => ({
          code: name(item),
          derivation: list(item.ContentSequence).map((one) => first(one.ConceptCodeSequence)?.CodeValue),
          value: Number(first(item.MeasuredValueSequence).NumericValue),
        })),
      };
    }),
    tools: Object.keys(MeasurementReport.generateToolState(dataset, imageIds, metaData)),
  };
}

function structures(dataset) {
  return {
    names: list(dataset.StructureSetROISequence).map((one) => one.ROIName),
    contours: list(dataset.ROIContourSequence).map((one) =>
      list(one.ContourSequence).map((contour) => ({
        kind: contour.ContourGeometricType,
        points: Number(contour.NumberOfContourPoints),
        numbers: contour.ContourData.length,
        instance: first(contour.ContourImageSequence)?.ReferencedSOPInstanceUID,
      })),
    ),
  };
}

const [path, ...about] = process.argv.slice(2);
const dataset = read(path);
const kinds = {
  SEG: () => segmentation(path, dataset, images(about)),
  SR: () => report(dataset, images(about)),
  RTSTRUCT: () => structures(dataset),
};
process.stdout.write(JSON.stringify(await kinds[dataset.Modality]()));
