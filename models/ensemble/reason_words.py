"""A recommendation's reasons in words, as the terminal, the report and the gallery write them."""

WITH = {  # what stands behind the signal is known
    "favorites": "likes {}",
    "content": "looks like {}",
    "tags": "tag {}",
    "contacts": "{} likes it",
    "groups": "liked in the group {}",
    "owners": "by {}",
}
WITHOUT = {"popularity": "popular", "profile": "liked by users with the same tags, contacts and groups"}


def reason_in_words(signal: str, because: str | None) -> str:
    """A reason in a few words; `because` names what stands behind the signal, None where nothing single does."""
    return WITHOUT.get(signal, signal) if because is None else WITH.get(signal, "{}").format(because)
