"""The sentences that word2vec reads: the tags of an image, the tags of a user; without tags, a user's favorites."""

from scipy.sparse import csr_array

from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from tasks.data.tastes import Vocabulary


def vocabulary_of(community: dict[str, Ref]) -> Vocabulary:
    """The tokens of the community's profiles: its tags, or its images where it has no tags."""
    return "tags" if community["image_tags"].rows + community["user_tags"].rows else "images"


def sentences_of(table: dict[str, Ref], training: Ref) -> list[Ref]:
    """The tables of sentences: the tags of images and of users; without tags, the training favorites."""
    return [table["image_tags"], table["user_tags"]] if vocabulary_of(table) == "tags" else [training]


def read_sentences(sentences: list[Ref], root: Root) -> tuple[Ids, list[csr_array]]:
    """The vocabulary, and for each table a matrix whose rows are sentences: its first column groups its second."""
    read = [parquet.read(ref, root) for ref in sentences]
    columns = [(rows[rows.column_names[0]], rows[rows.column_names[1]]) for rows in read]
    tokens = matrices.ids_of(*(words for _, words in columns))
    return tokens, [matrices.incidence(texts, words, matrices.ids_of(texts), tokens) for texts, words in columns]
