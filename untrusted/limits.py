"""The budgets of every reader of files from strangers, each with the largest thing that needs it.

docs/strangers.md has them as a table. A reader takes its numbers from here and has none of its own;
a file beyond one is refused before it is unpacked, decoded or built, so that no refusal takes more
than `SECONDS` and `GROWTH` above what the process held before.
"""

from __future__ import annotations

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

SECONDS = 1.0
"""What refusing any file takes at most, beyond reading the bytes that its own size accounts for."""
GROWTH = 200 * MIB
"""What refusing any file adds at most to the memory of the process."""

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

# Arrays: .npy and .npz --------------------------------------------------------------------------

UNPACKED_BYTES = 128 * MIB
"""What any .npz may unpack to, however small it is; Inception's moments (2,048 x 2,048) take 32."""
UNPACKED_TIMES = 50
"""Beyond that, how many times its size a .npz may unpack to; drawn digits pack 20 times."""
MAPPED_BYTES = 64 * MIB
"""Numbers of a .npy from which on they stay in the file and are read as they are looked at."""
ARRAYS = 2_000
"""Of a .npz; the weights of the largest feature network are 1,000."""
ARRAY_HEADER_BYTES = 1_000
"""The text before an array's numbers that says its type and shape; NumPy writes 118 as a rule."""
HASHED_BYTES = 8 * GIB
"""A file whose SHA-256 is stated with results; the weights of DINOv2's largest take 4.5 GB."""
ARRAY_NUMBERS = 1 << 44
"""Of an array; a million colour pictures of 1,024 x 1,024 have 2^42 of them."""
ARRAY_DIMENSIONS = 32
"""Of any array or tensor; NumPy's own limit was 32 for two decades, and pictures have 4."""

# Zips: .npz and PyTorch's -----------------------------------------------------------------------

ZIP_ENTRIES = 20_000
"""Entries of a zip; the deepest checkpoint of score_sde with its optimizer has 4,000."""
ZIP_DIRECTORY_BYTES = 4 * MIB
"""The directory at the end of a zip; 200 bytes for each entry."""
CHUNK_BYTES = 4 * MIB
"""What is unpacked, or checked against a checksum, at a time."""

# Checkpoints ------------------------------------------------------------------------------------

PICKLE_OPERATIONS = 250_000
"""Of all pickles in one file; the largest published checkpoint takes some 120,000."""
PICKLE_ENTRIES = 500_000
"""In all containers, what is shared counted as often as it is met; score_sde's have 10,000."""
PICKLE_DEPTH = 100
"""Containers within each other; a snapshot of EDM has 20."""
PICKLE_TEXT_BYTES = 4 * MIB
"""Texts, bytes and long integers that a pickle makes; the source in a snapshot takes 0.1 MiB."""
INTEGER_BITS = 512
"""Of an integer in a pickle; PyTorch's magic number has 79."""
MSGPACK_ENTRIES = 200_000
"""In all maps and lists; the largest published checkpoint has some 10,000."""
MSGPACK_DEPTH = 40
"""Maps and lists within each other; flax's states have 10."""
SAFETENSORS_HEADER_BYTES = 8 * MIB
"""The JSON before the tensors; 200 bytes for each tensor, and the library's own limit is 100 MB."""
SAFETENSORS_ITEMS = 400_000
"""Values and keys in that JSON; 14 for each tensor."""
TENSORS = 20_000
"""Tensors of a file; the raw and averaged weights of score_sde's deepest network are 2,000."""
NAME_CHARACTERS = 1_000
"""Of the name of a tensor, or a key of a container; published ones have at most 100."""
NOISE_LEVELS = 100_000
"""Of a model; the largest published has 2,000."""
NETWORK_BLOCKS = 64
"""Residual blocks on the way down of a U-Net; the deepest published has 32. It is traced."""
VIT_BLOCKS, VIT_WIDTH = 40, 1536
"""Of a vision transformer that features are taken from: those of DINOv2's largest."""

# Pictures ---------------------------------------------------------------------------------------

PICTURE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Told by their content; a decoder of any other is never started."""
PICTURE_PIXELS = 48 * MIB
"""Of one picture, and of all that are decoded at the same time: a camera's 50 million."""
PICTURE_SMALL = 4 * MIB
"""Pixels that a picture's file may hold however small it is: a blank one of 2,048 x 2,048."""
PICTURE_TIMES = 500
"""Beyond that, pixels for each byte of the file; photographs have fewer than 50."""
WEBP_COPIES = 4
"""How many times its pixels the decoder of WEBP holds: it may have a fourth of them."""
WEBP_BYTES = 64 * MIB
"""A WEBP's file, which is read at once; its pixels take no more uncompressed."""
PICTURE_BYTES = 160 * MIB
"""A picture's file: that many pixels of three bytes, uncompressed, take 144 MiB."""
PICTURE_SCANS = 16
"""How often a JPEG of `PICTURE_PIXELS` is gone over; a progressive one is about 10 times."""
PICTURE_BLOCKS = 50_000
"""Chunks, segments, blocks or tags of a picture; a PNG of 150 MiB in pieces of 8 KiB has 19,000."""
PICTURE_HEADER_BYTES = 64 * KIB
"""Comments before the sizes in a PPM; a camera's take 1 KiB."""
PICTURE_TAG_BYTES = 32 * MIB
"""What a picture says beside its pixels, in tags, segments or chunks; a colour profile takes 3."""
PICTURE_EXIF_BYTES = 64 * KIB
"""The EXIF data of a picture; no more fits into a segment of a JPEG."""
