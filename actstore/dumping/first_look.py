"""The first look at a model: its layers, as two rows of a batch show them; and its errors in one line."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from actstore import arrays
from actstore.errors import ActstoreError, DumpError, RowError
from actstore.usercode import explain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actstore.adapters import Adapter, ModelLayer
    from actstore.sources import Batch

DESCRIBED_ROWS = 2


def described(adapter: Adapter, batch: Batch, ids: Sequence[str] = ()) -> list[ModelLayer]:
    """The layers that a batch, of rows with these ids, goes through."""
    with blaming_model("the first batch", ids):
        return adapter.layers(_head(batch))


def _head(batch: Batch) -> object:
    """Two rows of a batch, which show the layers as well as all of them; all, where they can not be taken apart."""
    inputs = batch.inputs
    texts = isinstance(inputs, list) and bool(inputs) and not arrays.is_array(inputs[0])
    if not (arrays.is_array(inputs) or texts) or batch.rows <= DESCRIBED_ROWS:
        return batch.inputs
    return arrays.first_rows(batch.inputs, DESCRIBED_ROWS)


@contextmanager
def blaming_model(where: str, ids: Sequence[str] = ()) -> Iterator[None]:
    """Errors of the user's model as one line that names the batch; those of a row with its id, where ids are known."""
    try:
        yield
    except RowError as error:
        if not ids:
            raise
        msg = f"row {ids[error.row]!r} {error.what}"
        raise DumpError(msg) from error
    except ActstoreError:
        raise
    except Exception as error:
        msg = f"the model failed on {where}: {explain(error)}"
        raise DumpError(msg) from error
