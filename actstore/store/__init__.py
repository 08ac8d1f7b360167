"""The store: rows and activations as HDF5, in the format of docs/format.md.

``writing.writer`` and ``reading.reader`` are what others use; ``writing.attach``, ``writing.pack``, ``merging`` and
``verifying`` work on what is there. Each floor knows only those below it:

- ``merging``: several stores become one.
- ``writing``: ``batch_checks`` and ``id_check`` look at what comes, ``pending`` and ``pipeline`` keep it, ``sealing``
  makes shards of it, ``destination`` says where they go, ``claim`` takes that place and gives the output its name,
  ``completion`` proves that all is there.
- ``verifying``: every byte against what was recorded.
- ``reading``: rows and layers.
- ``documents``: what a store says of itself, and which files are its own.
- ``disk``: every call to the file system, and the one file that calls HDF5.
- ``format``: the names of docs/format.md.
"""
