"""The demo community's sixteen visual styles, and the tags for each.

A style is a hue, a tone and a pattern. Two styles, one bright and one dark, share each hue; two styles of distant hues
share each pattern. So color and pattern are both informative, and neither determines the style alone.
"""

from dataclasses import dataclass

import numpy as np

PATTERNS = {  # pattern -> tags for it, most frequent first
    "stripes": "stripes lines bands ribbons pinstripes slats bars streaks ladder",
    "dots": "dots spots polka confetti beads pebbles freckles sprinkles pearls",
    "rings": "rings circles ripples targets hoops halos orbits loops echoes",
    "blobs": "blobs bubbles clouds puddles drops amoebas balloons lava stains",
    "waves": "waves swells dunes currents tides hills folds drifts curves",
    "checks": "checks squares tiles mosaic chessboard grid gingham pixels patchwork",
    "shards": "polygons triangles facets shards crystals angles prisms origami splinters",
    "rays": "rays sunburst starburst spokes beams fans sparks flares pinwheel",
}
HUES = {  # hue -> degrees on the color wheel, general tags, tags for its bright and its dark shades
    "red": (
        (0, "red scarlet"),
        "coral salmon watermelon strawberry flamingo cherry tomato poppy",
        "crimson burgundy garnet oxblood claret maroon carmine ember",
    ),
    "orange": (
        (27, "orange warm"),
        "apricot peach tangerine papaya cantaloupe marigold carrot mango",
        "copper umber sienna chestnut cinnamon mahogany terracotta rust",
    ),
    "yellow": (
        (52, "yellow golden"),
        "lemon canary butter daffodil sunflower primrose honey vanilla",
        "ochre amber mustard brass bronze saffron tawny hazel",
    ),
    "green": (
        (115, "green verdant"),
        "mint lime pistachio apple clover fern spring meadow",
        "forest moss pine olive ivy juniper cedar hunter",
    ),
    "teal": (
        (172, "cyan watery"),
        "aqua turquoise lagoon seafoam glacier celeste reef opal",
        "teal petrol peacock kelp abyss viridian spruce malachite",
    ),
    "blue": (
        (216, "blue cool"),
        "sky azure cornflower powder periwinkle bluebell breeze hydrangea",
        "navy midnight indigo cobalt sapphire denim ink prussian",
    ),
    "violet": (
        (270, "purple violet"),
        "lilac lavender wisteria orchid thistle heather iris mauve",
        "plum aubergine amethyst grape damson mulberry nightshade royal",
    ),
    "pink": (
        (325, "pink pinkish"),
        "rose blush bubblegum peony carnation fuchsia candy petal",
        "raspberry magenta wine beetroot cranberry ruby berry boysenberry",
    ),
}
TONES = {
    "bright": "bright airy sunny light pastel fresh cheerful summer daylight crisp gentle soft",
    "dark": "dark moody night shadow gloomy noir deep lowkey mysterious dusk winter velvet",
}
COMMON = (  # tags for any picture
    "art abstract design pattern color colour geometric modern minimal digital graphic texture decorative background "
    "wallpaper square drawing illustration print poster shape composition contrast vivid simple beautiful nice love "
    "favorite explore generative vector creative artistic colorful colourful detail macro closeup studio series "
    "experiment draft sketch paper canvas ink-and-paint retro vintage classic contemporary bauhaus kids home office "
    "wall fabric textile quilt ceramic glass"
)
STRAY = (  # tags unrelated to pictures
    "monday friday birthday holiday weekend 2022 2023 2024 canon nikon scanner iphone paris tokyo lisbon oslo madrid "
    "lagos lima quito cairo delhi seoul boston toronto vienna prague dublin athens me mine new old todo untitled "
    "upload backup test family friends cat dog coffee music dance train bridge market museum garden travel rain snow "
    "sun moon star fun wow lol gift sale"
)
ANIMALS = (  # the second word of a user's name; the first is a shade
    "heron otter fox wren badger finch hare lynx owl marten plover raven seal stoat swift tern toad vole whale wolf "
    "beetle moth newt ibis"
)


@dataclass(frozen=True)
class Style:
    """The features that pictures of one style share, and the style's tags, each list from most to least frequent."""

    pattern: str
    hue_degrees: float
    tone: str
    shades: list[str]  # tags for its color that no other style has
    forms: list[str]  # tags for its pattern, which one other style has too
    shared: list[str]  # tags for its hue and tone, which many styles have

    @property
    def phrases(self) -> list[str]:
        """A shade and a form together: the long tail of the style's own tags."""
        return [f"{shade} {form}" for form in self.forms for shade in self.shades]


def _styles() -> tuple[Style, ...]:
    styles = []
    for number, ((degrees, words), *shades) in enumerate(HUES.values()):
        for shift, tone in enumerate(TONES):
            pattern = list(PATTERNS)[(number + 3 * shift) % len(PATTERNS)]
            shared = words.split() + TONES[tone].split()
            styles.append(Style(pattern, degrees, tone, shades[shift].split(), PATTERNS[pattern].split(), shared))
    return tuple(styles)


STYLES = _styles()


def vocabulary() -> tuple[list[str], np.ndarray]:
    """Every tag, and each style's distribution over tags.

    Returns the V distinct tags and float64 (len(STYLES), V) with rows that sum to 1. With the shares below, about two
    thirds of a style's tags are its own, so that tags of one style co-occur and word2vec can find the style.
    """
    general, stray = COMMON.split(), STRAY.split()
    lists = [words for style in STYLES for words in (style.shades, style.forms, style.shared, style.phrases)]
    tags = list(dict.fromkeys(word for words in [*lists, general, stray] for word in words))
    column = {tag: number for number, tag in enumerate(tags)}
    weights = np.zeros((len(STYLES), len(tags)))
    for row, style in enumerate(STYLES):
        for words, share, slope in (
            (style.shades, 0.26, 0.7),
            (style.forms, 0.18, 0.7),
            (style.phrases, 0.28, 0.8),
            (style.shared, 0.10, 0.8),
            (general, 0.12, 0.9),
            (stray, 0.03, 0.6),
            (tags, 0.03, 0.0),  # noise: any tag
        ):
            zipf = (1.0 + np.arange(len(words))) ** -slope
            np.add.at(weights[row], [column[word] for word in words], share * zipf / zipf.sum())
    return tags, weights
