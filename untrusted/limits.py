"""The budgets of every reader of files from strangers, each with the largest thing that needs it.

docs/strangers.md has them as a table. A reader takes its numbers from here and has none of its own;
a file beyond one is refused before it is unpacked, decoded or built, so that no refusal takes more
than `SECONDS` and `GROWTH` above what the process held before.
"""

from __future__ import annotations

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

SECONDS = 1.0
"""Longest time that refusing any file takes, beyond reading all of its bytes."""
GROWTH = 200 * MIB
"""Most memory that refusing any file adds to the process."""

# Texts ------------------------------------------------------------------------------------------

JSON_BYTES = 1 * MIB
"""A JSON file; the largest config.json of a published diffusion model has 3 KiB."""
JSON_ITEMS = 200_000
"""Values and keys in a JSON file; a table of a thousand noise levels takes a thousand."""
JSON_DEPTH = 32
"""Lists and objects within each other; diffusers' files and ours have 4."""
JSON_DIGITS = 40
"""Digits of an integer; an identity of 128 bits has 39."""
SHOWN = 60
"""Characters of a stranger's value that a message repeats."""
TOKENIZER_BYTES = 32 * MIB
"""A file of a tokenizer; that of T5 in 101 languages has 16 MiB."""
TOKENIZER_ITEMS = 2_000_000
"""Values and keys in it; CLIP's tokenizer.json has 250,000."""

CAPTIONS_BYTES = 16 * MIB
"""A file of captions, one on each line; a hundred thousand of ten words take 6 MiB."""

# Arrays: .npy and .npz --------------------------------------------------------------------------

UNPACKED_BYTES = 128 * MIB
"""Total to which any .npz may unpack; Inception's moments (2,048 x 2,048) take 32 MiB."""
UNPACKED_TIMES = 50
"""Above UNPACKED_BYTES, unpacked size over packed size of a .npz; drawn digits have 20."""
MAPPED_BYTES = 64 * MIB
"""Size from which on the numbers of a .npy stay in the file and are read when used."""
ARRAYS = 2_000
"""Arrays of a .npz; the largest feature network has 1,000."""
ARRAY_HEADER_BYTES = 1_000
"""The text before an array's numbers that says its type and shape; NumPy writes 118 as a rule."""
HASHED_BYTES = 8 * GIB
"""A file whose SHA-256 is stated with results; the weights of DINOv2's largest take 4.5 GB."""
ARRAY_NUMBERS = 1 << 44
"""Numbers of an array; a million colour pictures of 1,024 x 1,024 have 2^42."""
ARRAY_DIMENSIONS = 32
"""Axes of an array or tensor; NumPy's own limit was 32 for two decades, pictures have 4."""

# Tables: CSV and Parquet -------------------------------------------------------------------------

TABLE_COLUMNS = 1 << 14
"""Columns of a table; single-cell counts of the two thousand most varied genes have 2,000."""
TABLE_NUMBERS = 1 << 29
"""Numbers of the columns that are read; HIGGS, 11 million rows of 28, has 308 million."""
TABLE_FOOTER_BYTES = 4 * MIB
"""The description at the end of a Parquet file: 200 bytes for each column of each group of rows."""
TABLE_GROUPS = 100_000
"""Groups of rows of a Parquet file; a billion rows, a million in each as usual, have 1,000."""

# Zips: .npz and PyTorch's -----------------------------------------------------------------------

ZIP_ENTRIES = 20_000
"""Entries of a zip; the deepest checkpoint of score_sde with its optimizer has 4,000."""
ZIP_DIRECTORY_BYTES = 4 * MIB
"""The directory at the end of a zip; 200 bytes for each entry."""
CHUNK_BYTES = 4 * MIB
"""Bytes that are unpacked, or checked against a checksum, at a time."""

# Checkpoints ------------------------------------------------------------------------------------

PICKLE_OPERATIONS = 250_000
"""Operations of all pickles in one file; the largest published checkpoint has some 120,000."""
PICKLE_ENTRIES = 500_000
"""Entries of all containers, shared ones counted each time; score_sde's have 10,000."""
PICKLE_DEPTH = 100
"""Containers within each other; a snapshot of EDM has 20."""
PICKLE_TEXT_BYTES = 4 * MIB
"""Texts, bytes and long integers that a pickle makes; the source in a snapshot takes 0.1 MiB."""
INTEGER_BITS = 512
"""Bits of an integer in a pickle; PyTorch's magic number has 79."""
MSGPACK_ENTRIES = 200_000
"""Entries of all maps and lists; the largest published checkpoint has some 10,000."""
MSGPACK_DEPTH = 40
"""Maps and lists within each other; flax's states have 10."""
SAFETENSORS_HEADER_BYTES = 8 * MIB
"""The JSON before the tensors; 200 bytes for each tensor, and the library's own limit is 100 MB."""
SAFETENSORS_ITEMS = 400_000
"""Values and keys in that JSON; 14 for each tensor."""
TENSORS = 20_000
"""Tensors of a file; the raw and averaged weights of score_sde's deepest network are 2,000."""
NAME_CHARACTERS = 1_000
"""Length of the name of a tensor or of a container's key; published ones have at most 100."""
NOISE_LEVELS = 100_000
"""Noise levels of a model; the largest published one has 2,000."""
NETWORK_BLOCKS = 64
"""Residual blocks on the way down of a U-Net, as tracing takes time; published ones: 32."""
VIT_BLOCKS, VIT_WIDTH = 40, 1536
"""Size of a vision transformer that gives features: DINOv2's largest has these."""

# Pictures ---------------------------------------------------------------------------------------

PICTURE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats, recognized by content; no decoder of another format is ever started."""
PICTURE_PIXELS = 48 * MIB
"""Pixels of one picture, and of all that are decoded at a time; a camera's have 50 million."""
PICTURE_SMALL = 4 * MIB
"""Pixels allowed for a file of any size: a blank picture of 2,048 x 2,048."""
PICTURE_TIMES = 500
"""Above PICTURE_SMALL, pixels per byte of the file; photographs have fewer than 50."""
WEBP_COPIES = 4
"""Copies of its pixels that a WEBP decoder holds; a WEBP may have a fourth of PICTURE_PIXELS."""
WEBP_BYTES = 64 * MIB
"""Size of a WEBP file, which is read at once; uncompressed, its pixels take no more."""
PICTURE_BYTES = 160 * MIB
"""Size of a picture's file; PICTURE_PIXELS uncompressed, three bytes each, take 144 MiB."""
PICTURE_SCANS = 16
"""Passes over a JPEG of PICTURE_PIXELS; a progressive one takes about 10."""
PICTURE_BLOCKS = 50_000
"""Chunks, segments, blocks or tags of a picture; a PNG of 150 MiB in pieces of 8 KiB has 19,000."""
PICTURE_HEADER_BYTES = 64 * KIB
"""Comments before the sizes in a PPM; a camera's take 1 KiB."""
PICTURE_TAG_BYTES = 32 * MIB
"""Tags, segments or chunks of a picture beside its pixels; a colour profile takes 3 MiB."""
PICTURE_EXIF_BYTES = 64 * KIB
"""The EXIF data of a picture; no more fits into a segment of a JPEG."""
