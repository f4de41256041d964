"""The model that a run published, from its manifest."""

from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter

from storage.refs import Ref
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from tasks.systems.model import Embeddings, Fitted, Model


def model_of(manifest: dict[str, Any]) -> Model:
    """The model that a run published, from its manifest."""
    users, images = (ref_of_input(manifest, name) for name in ("users", "images"))
    exported = {
        name: [
            Ref(name, file["path"], file["sha256"], file["rows"], file["bytes"])
            for file in manifest["files"]
            if file["table"] == name
        ]
        for name in (USER_EMBEDDINGS.name, IMAGE_EMBEDDINGS.name)
    }
    (user_embeddings,), image_embeddings = exported.values()
    fitted = TypeAdapter(Fitted | None).validate_python(manifest.get("fitted"))
    embeddings = Embeddings(user_embeddings, image_embeddings)
    return Model(system_of(manifest), manifest.get("model", ""), users, images, embeddings, fitted)


def system_of(manifest: dict[str, Any]) -> str:
    """The name of the system that a run published."""
    return str(manifest.get("system", "cdl"))  # in 0.1.0 there was no other, and manifests did not say


def ref_of_input(manifest: dict[str, Any], name: str) -> Ref:
    """A table of the community as the run ingested it."""
    return Ref(**{item.name: manifest["inputs"][name][item.name] for item in fields(Ref)})
