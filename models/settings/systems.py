"""The settings of every system by its name; those of the CDL family are the ones of the network alone."""

from models.settings.borda import ImageNetConfig, SIDLConfig, SocialLMNNConfig
from models.settings.bpr_factors import VBPRConfig
from models.settings.bpr_mf import BPRMFConfig
from models.settings.collaborative_dl import CollaborativeDLConfig
from models.settings.dvbpr import DVBPRConfig
from models.settings.floor import FloorConfig
from models.settings.frozen_features import CAEConfig
from models.settings.implicit_library import ALSConfig, BPRConfig
from models.settings.lightgcn import LightGCNConfig
from models.settings.linear import EASEConfig, ItemKNNConfig
from models.settings.metric_learning import MapConfig
from models.settings.network import CDLConfig, HingeConfig, NetworkConfig
from models.settings.pinsage import PinSageConfig
from models.settings.tastegraph import TasteGraphConfig
from models.settings.visual_similarity import ResNetCosineConfig, VisRankConfig
from models.settings.visual_taste import TasteConfig
from models.settings.visual_words import WordsConfig
from models.settings.wide_deep import WideDeepConfig

FAMILY: dict[str, type] = {"cdl": CDLConfig, "cdl_hinge": HingeConfig, "twonets": NetworkConfig}
OWN_SETTINGS: dict[str, type] = FAMILY | {
    "als": ALSConfig,
    "borda_bow": WordsConfig,
    "borda_imagenet": ImageNetConfig,
    "borda_lmnn": MapConfig,
    "borda_sidl": SIDLConfig,
    "borda_social_lmnn": SocialLMNNConfig,
    "bpr": BPRConfig,
    "bpr_mf": BPRMFConfig,
    "cae": CAEConfig,
    "collaborative_dl": CollaborativeDLConfig,
    "dvbpr": DVBPRConfig,
    "ease": EASEConfig,
    "inception": TasteConfig,
    "itemknn": ItemKNNConfig,
    "lightgcn": LightGCNConfig,
    "pinsage": PinSageConfig,
    "popularity": FloorConfig,
    "random": FloorConfig,
    "resnet_cosine": ResNetCosineConfig,
    "tag_profile": FloorConfig,
    "tastegraph": TasteGraphConfig,
    "vbpr": VBPRConfig,
    "visrank": VisRankConfig,
    "wide_deep": WideDeepConfig,
}
