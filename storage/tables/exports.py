"""All tables that downstream teams read, in the order of the source contract."""

from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from storage.tables.reasons import REASONS
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.similar import SIMILAR_IMAGES

EXPORTS = (RECOMMENDATIONS, USER_EMBEDDINGS, IMAGE_EMBEDDINGS, SIMILAR_IMAGES)
OPTIONAL_EXPORTS = (REASONS,)
