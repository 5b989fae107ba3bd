"""One attribute of every slice."""

from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from operators.study.attributes import number, numbers, text, texts
from operators.volume.columns import column

READERS = {"Units": text, "CorrectedImage": texts, "Rows": number, "ImagePositionPatient": numbers}


def reread(ds):
    stream = BytesIO()
    dcmwrite(stream, ds, implicit_vr=False, little_endian=True)
    stream.seek(0)
    return dcmread(stream, force=True)


rows = st.lists(
    st.tuples(
        st.sampled_from(["BQML", "CNTS", ""]),
        st.integers(0, 3),
        st.integers(-3, 3),
        st.booleans(),
        st.booleans(),
    ),
    max_size=12,
)


@given(rows)
def test_is_what_each_header_says_for_itself(rows):
    headers = []
    for units, size, place, corrected, touched in rows:
        ds = Dataset()
        ds.Units, ds.ImagePositionPatient = units, [0.5, 1.0, float(place)]
        if size:
            ds.Rows = size
        ds.CorrectedImage = ["DECY", "ATTN"] if corrected else "ATTN"
        headers.append(reread(ds))
        if touched:
            assert headers[-1].Units == units  # converts the element
    for keyword, read in READERS.items():
        assert column(headers, keyword, read) == tuple(read(header, keyword) for header in headers)


def test_byte_order_counts():
    little = Dataset()
    little.Rows = 1
    one = reread(little)
    raw = one.get_item("Rows")
    other = Dataset({raw.tag: raw._replace(is_little_endian=False)})
    assert column([one, other], "Rows", number) == (1.0, 256.0)
