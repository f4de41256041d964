"""All settings of CDL, one section per component; what a comparison starts from; the short names of `tune`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from models.cdl.inputs import InputConfig
from models.cdl.negatives import NegativeConfig
from models.cdl.network import CDLConfig
from models.cdl.training import TrainingConfig
from models.cdl.triplets import TrainingUsersConfig, TripletConfig

# Short name: the section and the key of the setting that it stands for.
SHORT_NAMES = {
    "size": ("model", "size"),
    "loss": ("model", "loss"),
    "margin": ("model", "margin"),
    "sees": ("inputs", "sees"),
    "social_negatives": ("negatives", "social"),
    "per_user": ("triplets", "per_user"),
    "pool_images": ("triplets", "pool_images"),
    "epochs": ("training", "epochs"),
    "learning_rate": ("training", "learning_rate"),
}


@dataclass(frozen=True, kw_only=True)
class CDLSettings:
    """The settings of CDL. Each field is a section of the nightly run's settings; the defaults are the nightly's."""

    inputs: InputConfig = field(default_factory=InputConfig)
    negatives: NegativeConfig = field(default_factory=NegativeConfig)
    training_users: TrainingUsersConfig = field(default_factory=TrainingUsersConfig)
    triplets: TripletConfig = field(default_factory=TripletConfig)
    model: CDLConfig = field(default_factory=CDLConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def get(self, short_name: str) -> Any:
        """The value of a setting by its short name."""
        section, key = SHORT_NAMES[short_name]
        return getattr(getattr(self, section), key)

    def changed(self, values: Mapping[str, Any]) -> "CDLSettings":
        """The same settings but for these values, by short name."""
        settings = self
        for short_name, value in values.items():
            section, key = SHORT_NAMES[short_name]
            settings = replace(settings, **{section: replace(getattr(settings, section), **{key: value})})
        return settings

    def seeded(self, seed: int) -> "CDLSettings":
        """The same settings with one seed for triplets and training."""
        return replace(self, triplets=replace(self.triplets, seed=seed), training=replace(self.training, seed=seed))


COMPARED = CDLSettings(training=TrainingConfig(epochs=20, learning_rate=0.001))
"""What CDL and its family start from in `compare` and `tune`; all else is the nightly's.

Chosen on the demo's validation favorites, precision@20 matched, two seeds: the paper's rate .001 gives .61 and .56, the
nightly's .002 gives .52 and .48. For 8,600 posters 20 epochs take some two and a half minutes of one core.
"""


def nightly_settings(tuned: Mapping[str, Any]) -> dict[str, Any]:
    """The nightly's settings, `section.key: value`, that train CDL as a comparison does with these values.

    Args:
        tuned: values by short name, as `tune` finds them. What they leave open is that of COMPARED.
    """
    settings, defaults = COMPARED.changed(tuned), CDLSettings()
    chosen = [name for name in SHORT_NAMES if name in tuned or settings.get(name) != defaults.get(name)]
    return {".".join(SHORT_NAMES[name]): settings.get(name) for name in chosen}
