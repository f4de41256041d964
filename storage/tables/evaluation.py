"""Figures of a night, of a comparison and of a tuning."""

import pyarrow as pa

from storage.tables.schema import USER_ID, column, table

PROTOCOL = column(
    "protocol",
    pa.string(),
    "paper, paper_matched, paper_both (the mean of the two), auc, full, time, cold or cold_users",
)

METRICS = table(
    "metrics",
    ("protocol", "slice", "system", "metric", "k"),
    "A figure of the evaluation, with its bootstrap interval over users.",
    column("protocol", pa.string(), "paper, paper_matched or full; policy: full ranking under one of its rules"),
    column("slice", pa.string(), "all, warm or cold images; of policy: the rule, no rule, or all rules"),
    column("system", pa.string(), "the published system's name, popularity or random"),
    column("metric", pa.string(), "precision, recall, ndcg, hit_rate or map"),
    column("k", pa.int32(), "length of the list that is scored"),
    column("value", pa.float64(), "mean over users"),
    column("low", pa.float64(), "lower end of the 95 % interval"),
    column("high", pa.float64(), "upper end of the 95 % interval"),
    column("users", pa.int64(), "users in the mean"),
)
TRIALS = table(
    "trials",
    ("trial",),
    "Settings of a system that were tried, and how well they did on validation.",
    column("trial", pa.int32(), "its number; trial 0 has the defaults"),
    column("settings", pa.string(), "the settings tried, as JSON"),
    column("value", pa.float64(), "the figure on validation that is to be highest"),
    column("fit_s", pa.float64(), "seconds to fit"),
)
USER_METRICS = table(
    "user_metrics",
    ("protocol", "slice", "metric", "k", "user_id"),
    "A figure of one test user; the means are in `results`.",
    PROTOCOL,
    column("slice", pa.string(), "all, warm or cold images"),
    column("metric", pa.string(), "precision, recall, ndcg, hit_rate, map or auc"),
    column("k", pa.int32(), "length of the list that is scored; 0 where all images are"),
    USER_ID,
    column("value", pa.float64(), "the user's figure"),
)
RESULTS = table(
    "results",
    ("system", "protocol", "slice", "metric", "k", "seed"),
    "A figure of a comparison, with its bootstrap interval over users.",
    column("system", pa.string(), "the system's name"),
    PROTOCOL,
    column("slice", pa.string(), "all, warm or cold images"),
    column(
        "metric",
        pa.string(),
        "precision, recall, ndcg, hit_rate, map, auc; of all lists together: coverage, average_popularity, "
        "average_percentile, gini",
    ),
    column("k", pa.int32(), "length of the list that is scored; 0 where all images are"),
    column("seed", pa.int64(), "the seed of the system; the split is the same for all"),
    column("value", pa.float64(), "mean over users"),
    column("low", pa.float64(), "lower end of the 95 % interval; absent for figures of all lists", optional=True),
    column("high", pa.float64(), "upper end of the 95 % interval; absent for figures of all lists", optional=True),
    column("users", pa.int64(), "users in the mean"),
    column("fit_s", pa.float64(), "seconds to fit on training and validation"),
    column("score_s", pa.float64(), "seconds to rank for all test users"),
)
COMPARISONS = table(
    "comparisons",
    ("protocol", "slice", "metric", "k", "system"),
    "A system against the best of the others on the same users; each user's figure is the mean over seeds.",
    PROTOCOL,
    column("slice", pa.string(), "all, warm or cold images"),
    column("metric", pa.string(), "precision, ndcg or auc"),
    column("k", pa.int32(), "length of the list that is scored; 0 where all images are"),
    column("system", pa.string(), "the system"),
    column("value", pa.float64(), "mean over users and seeds"),
    column("low", pa.float64(), "lower end of the 95 % interval"),
    column("high", pa.float64(), "upper end of the 95 % interval"),
    column("users", pa.int64(), "users in the mean"),
    column("other", pa.string(), "the best of the other systems by the same figure"),
    column("other_value", pa.float64(), "its mean"),
    column("difference", pa.float64(), "the system's mean less the other's"),
    column("difference_low", pa.float64(), "lower end of the difference's 95 % interval"),
    column("difference_high", pa.float64(), "upper end of the difference's 95 % interval"),
    column("p_value", pa.float64(), "how often random signs bring the mean difference as far from 0"),
    column("p_holm", pa.float64(), "the same, Holm-corrected over all systems that are tested against the first"),
)
