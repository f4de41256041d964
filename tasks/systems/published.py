"""The model that a run published, from its manifest."""

from pydantic import TypeAdapter

from storage.manifests import Manifest
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from tasks.systems.model import Embeddings, Fitted, Model


def model_of(manifest: Manifest) -> Model:
    """The published model over the users and images that the run ingested."""
    (users,) = (file.ref for file in manifest.table_files(USER_EMBEDDINGS.name))
    images = [file.ref for file in manifest.table_files(IMAGE_EMBEDDINGS.name)]
    return Model(
        manifest.system,
        manifest.model,
        manifest.inputs["users"],
        manifest.inputs["images"],
        Embeddings(users, images),
        TypeAdapter(Fitted | None).validate_python(manifest.fitted),
    )
