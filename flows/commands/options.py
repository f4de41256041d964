"""Options that several commands have, and how a command exits."""

from typing import Annotated, Literal

import typer

from flows.terminal import be_quiet

FAILED, USAGE, NOT_CURRENT = 1, 2, 3

SourceOption = Annotated[str, typer.Option(help="A source directory, local or s3://BUCKET/PREFIX; or demo.")]
RootOption = Annotated[str, typer.Option(help="The folder of all outputs, local or s3://BUCKET/PREFIX.")]
ConfigOption = Annotated[str | None, typer.Option(help="A YAML or TOML file of settings, or `paper`.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be repeated.")]
ProtocolOption = Annotated[
    Literal["paper", "auc", "full", "time", "cold", "cold_users"],  # as models.evaluation.splits.Protocol
    typer.Option(help="Which split, and what is measured."),
]
TestOption = Annotated[
    str | None, typer.Option(help="Held-out favorites for the protocol full; by default a random share.")
]
ValidationOption = Annotated[
    str | None, typer.Option(help="Favorites to choose settings on, with --test; by default a random share.")
]
WhyOption = Annotated[str, typer.Option(help="The reason, for the history; name no user and no image in it.")]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="Look at the files' sizes alone, instead of reading and comparing every byte.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", callback=be_quiet, help="Say only the result, and what went wrong.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]
