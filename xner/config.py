"""The settings of every job: one frozen record a job, written as a TOML recipe.

Each field's description is its documentation: ``--help`` prints it, and the recipes under
``jobs/recipes`` repeat none of it but the choice. How a recipe file and the command line become a
record is told in :mod:`xner.command_line`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from xner.text.iob2 import UNKNOWN
from xner.text.languages import language_of

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
BatchTokens = Count | Literal["auto"]
Weight = Annotated[float, Field(ge=0.0)]
Seed = Annotated[int, Field(ge=0)]
LabelMap = dict[str, Annotated[str, Field(min_length=1)]]


def _of_form(pattern: str, expected: str) -> AfterValidator:
    """Refuses text that does not match, in words that say what would be right."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(f"expected {expected}, found {text!r}")
        return text

    return AfterValidator(check)


Name = Annotated[
    str,
    _of_form(
        r"[^\W_][\w .+-]*", "a name that begins with a letter or digit and has only those and _ .+-"
    ),
]
Language = Annotated[
    str,
    _of_form(r"[a-z]{2,3}(_[A-Za-z]+)?", "a language as OPUS writes it, such as de, ast or zh_CN"),
]


class Record(BaseModel):
    """A frozen group of settings that refuses keys it does not know, empty text, infinity and NaN.

    An empty name is mostly a shell variable that is not set, and to a file system the folder at
    hand. JSON, which records a run, has no infinity and no NaN.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_min_length=1, allow_inf_nan=False)


def _check_unused(settings: Record, names: Iterable[str], why: str) -> None:
    """Refuses a setting that was given a value and has no effect, as its user would never know."""
    for name in _given(settings, names):
        raise ValueError(f"{name}: {why}")


def _given(settings: Record, names: Iterable[str]) -> Iterator[str]:
    """Those of the settings that were given another value than their default."""
    for name in names:
        if name not in settings.model_fields_set:
            continue
        default = type(settings).model_fields[name].get_default(call_default_factory=True)
        if getattr(settings, name) != default:
            yield name


class EngineConfig(Record):
    """Where the stages run."""

    kind: Literal["ray", "inline"] = Field(
        "ray", description="`ray`: Ray Data, on this machine or a cluster; `inline`: a plain loop."
    )
    address: str | None = Field(
        None,
        description="Ray cluster to join; by default the one that submitted the job, or a local "
        "one.",
    )
    num_cpus: Count | None = Field(
        None, description="Logical CPUs of a Ray started here; by default all cores."
    )
    shard_seconds: float | None = Field(
        None,
        gt=0,
        description="Seconds that a step may take for a shard before its process is ended, for it "
        "hangs; Ray tries the shard three times. By default there is no limit.",
    )


class PoolConfig(Record):
    """An autoscaling pool of actors that each hold a model, or two."""

    min_size: Count = Field(1, description="Actors kept even when idle.")
    max_size: Count = Field(1, description="Actors at most.")
    num_cpus: float = Field(1.0, gt=0, description="CPUs an actor reserves; also its threads.")
    num_gpus: float = Field(
        0.0, ge=0, description="GPUs an actor reserves; a fraction shares one GPU among actors."
    )

    @model_validator(mode="after")
    def _sizes_are_ordered(self) -> PoolConfig:
        if self.max_size < self.min_size:
            raise ValueError(f"max_size ({self.max_size}) is below min_size ({self.min_size})")
        return self


class ModelConfig(Record):
    """A trained model and how to run it."""

    model: str = Field(
        description="Model folder (a path or any fsspec URL), or name on the Hugging Face hub."
    )
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto`: cuda if there.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="`auto`: bf16 where the hardware computes in it, else fp32; each actor by its "
        "own, so that where nodes differ one folder holds labels of both.",
    )
    batch_tokens: BatchTokens = Field(
        "auto",
        description="Budget of a batch: rows times the longest row, in sub-words; `auto`: on a "
        "large shard, whichever proves fastest.",
    )
    max_length: Count | None = Field(
        None,
        description="Longest window in sub-words; by default what the encoder allows, up to 512.",
    )
    compile: bool = Field(
        False,
        description="Compile the model with torch.compile; worth its minutes at the start for long "
        "runs. Needs a C compiler.",
    )
    pool: PoolConfig = PoolConfig()


class TeacherConfig(ModelConfig):
    """The English NER model that labels the source side."""


class LinksConfig(Record):
    """Word links: which target word translates which source word, from whole sentence pairs."""

    kind: Literal["hmm", "similarity", "eflomal"] = Field(
        "hmm",
        description="`hmm`: statistics of the bitext (train_word_aligner); `similarity`: an "
        "encoder's states; `eflomal`: the program of that name (extra `eflomal`; its links differ "
        "from run to run).",
    )
    model: str | None = Field(
        None,
        description="`hmm`: folder of train_word_aligner, by default what a shard alone teaches; "
        "`similarity`: encoder, folder (a path or any fsspec URL) or hub name.",
    )
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    adapt: bool = Field(
        True, description="`hmm`: learn from each shard before its words are linked."
    )
    layer: int | None = Field(
        None, description="`similarity`: hidden layer, from 0; by default two thirds of the way up."
    )
    matching: Literal["argmax", "itermax"] = Field(
        "itermax", description="`similarity`: how links are read off the matrix of similarities."
    )

    @model_validator(mode="after")
    def _model_where_there_is_one(self) -> LinksConfig:
        if self.kind == "similarity" and self.model is None:
            raise ValueError("kind = 'similarity' needs a model, the encoder")
        if self.kind == "eflomal" and self.model is not None:
            raise ValueError("kind = 'eflomal' takes no model")
        if self.kind != "similarity":
            why = f'is for kind = "similarity", not "{self.kind}"'
            _check_unused(self, ("revision", "layer", "matching"), why)
        if self.kind != "hmm":
            _check_unused(self, ("adapt",), f'is for kind = "hmm", not "{self.kind}"')
        return self


class EvidenceConfig(Record):
    """What a candidate span gains from each witness, in log-odds (see xner.projection.evidence)."""

    links: float = Field(20.0, ge=0, description="Word links inside the span, against outside.")
    aligner: float = Field(8.0, ge=0, description="Probabilities of the entity aligner, likewise.")
    spelling: float = Field(10.0, ge=0, description="Letters shared with the name.")
    capitals: float = Field(4.0, ge=0, description="Capitals at both ends of the span.")
    agreement: float = Field(
        16.0, ge=0, description="Share of the shard's other mentions of the name that agree."
    )
    absent: float = Field(8.0, description="What `not in this text` has for itself.")


class AlignerConfig(ModelConfig):
    """What finds each source entity in the target sentence: a model, word links, or both.

    A model alone is decoded as it is in the paper. With ``links`` every span is weighed by all the
    evidence there is.
    """

    model: str | None = Field(  # type: ignore[assignment]
        None,
        description="Entity aligner: model folder (a path or any fsspec URL), or name on the "
        "Hugging Face hub.",
    )
    pool: PoolConfig | None = Field(  # type: ignore[assignment]
        None,
        description="Actors of their own, where aligning needs other hardware; by default the "
        "teacher's actors hold the aligner too, so that neither waits for the other.",
    )
    links: LinksConfig | None = Field(None, description="Word links; by default none.")
    evidence: EvidenceConfig = EvidenceConfig()
    threshold: Share = Field(
        0.5,
        description="A word belongs to an entity from this probability on (a model alone).",
    )
    max_gap: int = Field(
        1,
        ge=0,
        description="Words below the threshold that a span may bridge (a model alone).",
    )
    whole_words: bool = Field(
        True, description="Chinese spans begin and end where words of jieba's dictionary do."
    )
    max_candidates: Count = Field(3, description="Candidates kept for each mention.")
    exact_match: bool = Field(
        False,
        description="Place a name that stands verbatim, once, in the target without the model.",
    )

    @property
    def witnesses(self) -> str:
        """Who aligns, in words."""
        links = None if self.links is None else f"{self.links.kind} word links {self.links.model}"
        copies = "verbatim copies" if self.exact_match else None
        return ", ".join(filter(None, (self.model, links and links.removesuffix(" None"), copies)))

    @model_validator(mode="after")
    def _someone_aligns(self) -> AlignerConfig:
        if self.model is None and self.links is None and not self.exact_match:
            raise ValueError("nothing aligns: name model, links or exact_match")
        if self.links is None:
            _check_unused(self, ("evidence",), "is weighed only with links; none are set")
        else:
            why = "is for a model alone; with links all evidence is weighed"
            _check_unused(self, ("threshold", "max_gap"), why)
        return self


class QualityConfig(Record):
    """What a projected row must satisfy to be `ok`; the scores of refused rows are kept."""

    min_teacher_score: Share = Field(
        0.5, description="A source mention below this makes its row doubtful: refused."
    )
    min_alignment_score: Share = Field(
        0.5, description="A candidate below this does not place its mention."
    )
    max_unplaced: int = Field(
        0, ge=0, description="Source mentions that may stay unplaced in an accepted row."
    )
    keep_mention_free: Share = Field(
        0.5, description="Share of the rows without any source mention that is accepted."
    )
    labels: list[str] | None = Field(
        None,
        min_length=1,
        description="Entity types to project; by default all that the teacher knows.",
    )


class ProjectConfig(Record):
    """`project_corpus`: pairs shards in, pseudo-labelled shards out."""

    pairs: str = Field(description="Folder of pairs shards, as prepare_corpus writes them.")
    output: str = Field(description="Folder for the pseudo-labelled shards.")
    teacher: TeacherConfig
    aligner: AlignerConfig
    quality: QualityConfig = QualityConfig()
    engine: EngineConfig = EngineConfig()


class RelabelConfig(Record):
    """`relabel`: pseudo-labelled shards and a student in, shards with the labels of both out."""

    pseudo: str = Field(description="Folder of shards of project_corpus, or of this job.")
    output: str = Field(description="Folder for the relabelled shards.")
    student: ModelConfig = Field(description="A tagger that reads the target language.")
    combine: Literal["agreement", "student", "union"] = Field(
        "agreement",
        description="`agreement`: keep the rows where both say the same; `student`: what the "
        "student says, also of rows that projection refused; `union`: the projected mentions, and "
        "the student's where these leave room.",
    )
    min_student_score: Share = Field(
        0.5, description="A mention of the student below this makes its row doubtful: refused."
    )
    engine: EngineConfig = EngineConfig()


class RefilterConfig(Record):
    """`refilter`: pseudo-labelled shards in, the same rows judged by other rules out."""

    pseudo: str = Field(description="Folder of shards of project_corpus, or of this job.")
    output: str = Field(description="Folder for the shards of the new view.")
    quality: QualityConfig = QualityConfig()
    engine: EngineConfig = EngineConfig()


class ExportConfig(Record):
    """`export`: pseudo-labelled shards in, files for other tools out, one for each shard."""

    pseudo: str = Field(description="Folder of shards of project_corpus, relabel or refilter.")
    output: str = Field(description="Folder for the files.")
    format: Literal["datasets", "conll", "spacy", "jsonl", "label-studio"] = Field(
        "datasets",
        description="`datasets`: Parquet and a card, as the datasets library and the Hugging Face "
        "hub read them; `conll`: a token and its tag a line, and nothing of status and reason; "
        "`spacy`: DocBin (extra `spacy`); `jsonl`: text, tokens, spans, as Prodigy imports them; "
        "`label-studio`: tasks with predictions.",
    )
    status: list[Literal["ok", "filtered", "error"]] = Field(
        ["ok"], min_length=1, description="Export the rows that have one of these."
    )
    max_rows: Count | None = Field(None, description="Export no more rows (a fixed sample).")
    pairs: str | None = Field(
        None,
        description="Folder of the pairs that were labelled; from its record the card of "
        "`datasets` has the versions of the corpora.",
    )
    license: str | None = Field(
        None, description="Licence for the card, as the hub names it; by default `other`."
    )
    push_to: str | None = Field(
        None,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="Data set on the Hugging Face hub to upload to, `owner/name` (`datasets`); "
        "made where there is none. The token is that of `hf auth login` or HF_TOKEN.",
    )
    public: bool = Field(False, description="Let everybody see a data set that is made.")

    @model_validator(mode="after")
    def _card_and_hub_are_of_datasets(self) -> ExportConfig:
        if self.push_to is None:
            _check_unused(self, ("public",), "nothing is uploaded without push_to")
        if self.format == "datasets":
            return self
        if self.push_to is not None:
            raise ValueError(f'push_to: only format "datasets" is uploaded, not "{self.format}"')
        for name in ("pairs", "license"):
            if getattr(self, name) is not None:
                raise ValueError(f'{name}: only format "datasets" has a card, not "{self.format}"')
        return self


class ReportConfig(Record):
    """`report`: pseudo-labelled shards and what other jobs found in, one page for people out."""

    pseudo: str = Field(description="Folder of shards of project_corpus, relabel or refilter.")
    output: str = Field(description="Folder for index.html.")
    pairs: str | None = Field(
        None,
        description="Folder of the pairs that were labelled: the page then tells what "
        "prepare_corpus read and refused.",
    )
    results: list[str] = Field(
        default_factory=list,
        description="Output folders of evaluate_tagger, evaluate_projection and run_study.",
    )
    max_rows: Count = Field(
        4000, description="Rows to look at, equally many of every verdict and language."
    )
    seed: int = Field(0, description="Another seed draws other rows.")


class BenchmarkConfig(Record):
    """`benchmark`: how fast this machine labels, aligns and projects."""

    output: str = Field("runs/benchmark", description="Folder for summary.json.")
    pairs: str | None = Field(
        None, description="Folder of pairs shards to read; by default made sentences."
    )
    num_pairs: Count = Field(400, description="Pairs that every contestant reads in a round.")
    encoder: str = Field(
        "xlm-roberta-base",
        description="Random weights of the shape `minilm`, `xlm-roberta-base`, `xlm-roberta-large` "
        "or, for tests, `tiny`; or a model folder (a path or any fsspec URL) or name on the hub.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto`: cuda if there.")
    num_threads: Count | None = Field(None, description="Threads; by default what torch takes.")
    repetitions: Count = Field(5, description="Rounds in which all contestants take their turn.")
    opponents: list[Literal["batched_pipelines", "unbatched", "simalign", "awesome_align"]] = Field(
        ["batched_pipelines", "unbatched", "simalign", "awesome_align"],
        description="Whom to run against.",
    )
    training_steps: int = Field(
        20, ge=0, description="Steps of training that are timed; 0 leaves training out."
    )
    training_tokens: Count = Field(1024, description="Sub-words in such a step.")
    aligners_python: str | None = Field(
        None,
        description="Python of an environment that has simalign and awesome-align; without it they "
        "are left out.",
    )
    ray_seconds: float = Field(
        120,
        ge=0,
        description="About how long the plain loop and each way on Ray run; 0 leaves Ray out.",
    )
    profile: str | None = Field(
        None, description="Folder for a trace and a table of operators of one run of ours."
    )


class OpusConfig(Record):
    """Archives in the layout of the OPUS object store."""

    root: str = Field(
        "https://object.pouta.csc.fi", description="Any fsspec location with the OPUS layout."
    )
    corpora: list[str] = Field(
        default_factory=list, description="Corpora to read; `Name` or `Name/version`."
    )


class BitextConfig(Record):
    """A bitext of the user's own."""

    corpus: str = Field(description="The name that its rows will carry.")
    target_lang: Language = Field(description="Language of its target side.")
    path: str = Field(
        description="Moses zip, TMX (.tmx, .gz, .zip), or the source side's text file."
    )
    target_path: str | None = Field(
        None,
        description="The target side's text file, when the two sides lie in two files; both in "
        "UTF-8, plain or gzip.",
    )


class CleaningConfig(Record):
    """Rules that refuse a pair; each has a name, a kept score and a threshold here."""

    max_chars: Count = Field(1000, description="Longest side, in characters (`too_long`).")
    max_length_ratio: float = Field(
        3.0,
        ge=1,
        description="Longer over shorter side, in characters weighted by script (`length_ratio`).",
    )
    max_symbol_share: Share = Field(
        0.4, description="Characters that are neither letters nor spaces, worse side (`symbols`)."
    )
    min_script_share: Share = Field(
        0.5, description="Letters in the script of the language, worse side (`script`)."
    )
    allow_identical: bool = Field(
        False, description="Accept a side copied to the other (`identical`)."
    )
    identify_language: bool = Field(
        False,
        description="Refuse a side in another language (`language`); needs the extra `langid`.",
    )
    min_language_score: Share = Field(
        0.1, description="Probability of the declared language, worse side (`language`)."
    )

    @model_validator(mode="after")
    def _languages_are_identified(self) -> CleaningConfig:
        if not self.identify_language:
            why = "no language is identified; set identify_language"
            _check_unused(self, ("min_language_score",), why)
        return self


class SamplingConfig(Record):
    """How many pairs of each language pair to draw; all corpora weigh the same."""

    pairs: Count | None = Field(None, description="Pairs to draw; by default all.")
    seed: int = Field(0, description="Another seed draws another sample.")


class PrepareConfig(Record):
    """`prepare_corpus`: OPUS archives in, pairs shards out."""

    source_lang: Language = Field("en", description="The language that the teacher reads.")
    target_langs: list[Language] = Field(min_length=1, description="One or many target languages.")
    opus: OpusConfig = OpusConfig()
    bitexts: list[BitextConfig] = Field(default_factory=list, description="Bitext of your own.")
    cleaning: CleaningConfig = CleaningConfig()
    sampling: SamplingConfig = SamplingConfig()
    shard_pairs: Count = Field(32_768, description="Pairs in a shard.")
    output: str = Field(description="Folder for the pairs shards, one folder a language pair.")
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _something_to_read(self) -> PrepareConfig:
        if not self.opus.corpora and not self.bitexts:
            raise ValueError("nothing to read: name opus.corpora or bitexts")
        return self


class TaggedSourceConfig(Record):
    """Tagged sentences to train or score on."""

    path: str = Field(
        description="File, or folder of Parquet files; `hf://datasets/OWNER/NAME/FILE` on the hub."
    )
    format: Literal["conll", "jsonl", "label-studio", "parquet", "pseudo"] = Field(
        "conll",
        description="`conll`: a token a line in columns; `jsonl`: tokens and ner_tags, or text and "
        "spans (Prodigy's too), a JSON object a line; `label-studio`: its JSON export; `parquet`: "
        "tokens and ner_tags; `pseudo`: shards of project_corpus.",
    )
    token_column: int = Field(0, description="Column of the token (`conll`).")
    tag_column: int = Field(
        -1, description="Column of the tag (`conll`); negative counts from the end."
    )
    encoding: str = Field(
        "utf-8", description="Encoding of the text (`conll`); CoNLL-2002 and German 2003: latin-1."
    )
    tag_names: list[str] = Field(
        default_factory=list,
        description="The tags by their number, where ner_tags are numbers (`jsonl`, `parquet`); by "
        "default what a Parquet file of the datasets library says.",
    )
    repair_tags: bool = Field(
        False,
        description="Read an `I-X` that continues nothing as `B-X`, as conlleval does, and log how "
        "many; by default an error.",
    )
    lang: Language | None = Field(
        None,
        description="Language of the text, by default en; it decides how tokens are joined. Of "
        "`pseudo` only the rows in it are read, whatever their country or script, by default all.",
    )
    label_map: LabelMap = Field(
        default_factory=dict,
        description="Entity type in the file -> type in the model; `O` drops a type, and of `?` "
        "the loss leaves out its words, whatever they are. Empty: types are taken as they are; "
        "otherwise every type must be named.",
    )
    corpora: list[str] = Field(
        default_factory=list,
        description="Read the rows of these corpora alone (`pseudo`); by default of all.",
    )
    not_annotated: list[str] = Field(
        default_factory=list,
        description="Entity types of the model that this source does not mark: an `O` in it may "
        "hide one of these.",
    )
    max_sentences: Count | None = Field(
        None, description="Read no more than these (a fixed sample)."
    )
    repeat: float = Field(
        1.0,
        gt=0,
        description="How often a training epoch has each sentence: 3 thrice, 0.5 a half of them, "
        "drawn anew for each epoch. So sources are mixed.",
    )
    replacements: int = Field(
        0,
        ge=0,
        description="Copies of each training sentence with mentions, each of them replaced by "
        "another one of its type from the same file or shard (mention replacement, Dai and Adel "
        "2020). Where text is little, fewer names are learned by heart.",
    )

    @property
    def text_lang(self) -> str:
        """The language of text that does not name its own."""
        return self.lang or "en"

    @model_validator(mode="after")
    def _corpora_where_rows_name_theirs(self) -> TaggedSourceConfig:
        if self.corpora and self.format != "pseudo":
            raise ValueError(
                f'corpora: only rows of format "pseudo" name theirs, {self.path} is "{self.format}"'
            )
        return self

    @model_validator(mode="after")
    def _settings_are_of_the_format(self) -> TaggedSourceConfig:
        if self.format != "conll":
            why = f'is for format "conll"; {self.path} is "{self.format}"'
            _check_unused(self, ("token_column", "tag_column", "encoding"), why)
        if self.format not in ("jsonl", "parquet"):
            why = f'is for format "jsonl" or "parquet"; {self.path} is "{self.format}"'
            _check_unused(self, ("tag_names",), why)
        return self

    @field_validator("encoding")
    @classmethod
    def _encoding_exists(cls, encoding: str) -> str:
        try:
            "a".encode(encoding)
        except LookupError as error:
            raise ValueError(f"{error}; examples: utf-8, latin-1, cp1252") from error
        return encoding


def _check_read_once(what: str, source: TaggedSourceConfig) -> None:
    for name in _given(source, ("repeat", "replacements")):
        raise ValueError(f"{what}: {name} is for sources that are trained on")


class OptimizationConfig(Record):
    """The training loop, the same for taggers and aligners."""

    #: Settings that say where and how fast a run goes, and not what comes out.
    ELSEWHERE: ClassVar[frozenset[str]] = frozenset(
        {
            "num_workers",
            "min_workers",
            "cpus_per_worker",
            "gpus_per_worker",
            "sharding",
            "forward_tokens",
            "gradient_checkpointing",
            "compile",
            "checkpoint_steps",
            "trackers",
        }
    )

    epochs: Count = Field(3, description="Passes over the examples.")
    max_steps: Count | None = Field(None, description="Stop after these steps.")
    batch_tokens: Count = Field(
        4096, description="Budget of a step over all workers, in sub-words."
    )
    forward_tokens: Count | None = Field(
        None,
        description="Budget of one forward on a worker, where its share of a step is too large for "
        "the device; by default the whole share. Lowered where memory runs out.",
    )
    learning_rate: float = Field(5e-5, gt=0, description="The highest, after the warm-up.")
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="A layer's learning rate is that of the layer above times this, from the head, "
        "which has the full rate, down to the embeddings; 1 is one rate for all.",
    )
    warmup_share: Share = Field(
        0.06, description="Share of the steps until the full learning rate."
    )
    weight_decay: float = Field(0.01, ge=0, description="Of AdamW; biases and norms have none.")
    max_grad_norm: float = Field(1.0, gt=0, description="A larger gradient is scaled to it.")
    ema_decay: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Evaluate, choose and publish the exponential moving average of the weights "
        "with this decay a step, e.g. 0.999; by default the weights themselves.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="`auto`: bf16 where the hardware computes in it, else fp32."
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Compute the states within layers twice instead of keeping them: less memory, "
        "about a third more time.",
    )
    compile: bool = Field(
        False,
        description="Compile the model's training steps with torch.compile; worth its minutes at "
        "the start for long runs. Needs a C compiler.",
    )
    seed: Seed = Field(0, description="Another seed: other batches, dropout and new weights.")
    num_workers: int = Field(
        1, ge=0, description="Ray Train workers; 0 trains in this process, without Ray."
    )
    min_workers: Count | None = Field(
        None,
        description="Begin with these workers where there is no room for `num_workers`, and grow "
        "to them; a step's batch is the same for any number. By default wait for all.",
    )
    sharding: Literal["ddp", "fsdp"] = Field(
        "ddp",
        description="`ddp`: every worker holds the whole model; `fsdp`: each holds a part of its "
        "weights and of the optimizer, for encoders that are too large for one.",
    )
    cpus_per_worker: float = Field(
        1.0, gt=0, description="Logical CPUs that a worker reserves, and its threads."
    )
    gpus_per_worker: float = Field(
        0.0, ge=0, description="GPUs that a worker reserves; without one it computes on the CPU."
    )
    dev_share: Share = Field(0.05, description="Share of the examples held out for selection.")
    max_dev: Count = Field(
        2000, description="Examples held out at most, roughly: the others are trained on."
    )
    patience: Count | None = Field(
        None,
        description="Stop after these epochs without a gain on held-out examples; by default "
        "never. The learning rate falls as if all `epochs` were to come.",
    )
    keep_best: Count = Field(
        1,
        description="Publish the mean of the weights of these epochs, the best on held-out "
        "examples, or the last ones where there are none.",
    )
    soup: Count = Field(
        1,
        description="Train so many times from the same start, with other batches, dropout and "
        "draws each time, and publish the mean of the weights: what one run alone took from faulty "
        "labels counts for less. Costs so many times the training; the model is as fast as one.",
    )
    checkpoint_steps: Count | None = Field(
        None,
        description="Steps between checkpoints, besides those at epoch ends; by default these are "
        "the only ones.",
    )

    trackers: list[Literal["tensorboard", "mlflow", "wandb"]] = Field(
        ["tensorboard"],
        description="Who is told the run's settings and, with each checkpoint, its curves. "
        "`tensorboard`: event files beside the weights; `mlflow`, `wandb` (extras): the server and "
        "the account of their own variables, MLFLOW_TRACKING_URI, WANDB_PROJECT ...",
    )

    @model_validator(mode="after")
    def _workers_are_ordered(self) -> OptimizationConfig:
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError(
                f"min_workers ({self.min_workers}) is above num_workers ({self.num_workers})"
            )
        return self

    def of_run(self, number: int) -> OptimizationConfig:
        """The settings of run ``number`` (from 0) of a soup, which has a seed of its own.

        That of the first is the recipe's; a soup of a recipe with the next seed shares no run.
        """
        if not number:
            return self
        digest = hashlib.blake2b(f"{self.seed} {number}".encode(), digest_size=4).digest()
        return self.model_copy(update={"seed": int.from_bytes(digest)})


class LossConfig(Record):
    """Loss of the tagger; p is the probability of the given label (see xner.models.losses)."""

    name: Literal["cross_entropy", "focal", "opposite_focal", "gce"] = Field(
        "cross_entropy", description="`opposite_focal` and `gce` trust a doubtful label less."
    )
    gamma: float = Field(
        1.0,
        ge=0,
        description="γ of the focal losses; q of `gce`, where 0 is the cross entropy and 1 the "
        "mean absolute error (its paper has 0.7).",
    )
    form: Literal["shifted", "detached", "power"] = Field(
        "shifted", description="Form of `opposite_focal`."
    )
    weighting: Literal["none", "row", "teacher", "alignment"] = Field(
        "none",
        description="What the loss of a word is multiplied by. `row`: the weight of its "
        "pseudo-labelled row; `teacher`, `alignment`: that score of the mention it is in, over the "
        "mean of such scores, and 1 outside of mentions.",
    )
    agreement: float = Field(
        0.0,
        ge=0,
        description="Train two students that differ by their heads, and add this times their "
        "divergence from what they say on average; the first is kept. 0 trains one.",
    )
    agreement_warmup: int = Field(
        1, ge=0, description="Epochs until then: the students have to know something first."
    )

    @model_validator(mode="after")
    def _settings_are_of_the_loss(self) -> LossConfig:
        if self.name == "cross_entropy":
            _check_unused(self, ("gamma",), "cross_entropy has none")
        if self.name != "opposite_focal":
            _check_unused(self, ("form",), f"is for opposite_focal, not {self.name}")
        return self


def _check_agreement(loss: LossConfig, optimization: OptimizationConfig) -> None:
    if loss.agreement and loss.agreement_warmup >= optimization.epochs:
        raise ValueError(
            f"loss.agreement_warmup ({loss.agreement_warmup}) leaves none of "
            f"{optimization.epochs} epochs"
        )


class TrainTaggerConfig(Record):
    """`train_tagger`: tagged text in, a token classification model out."""

    encoder: str = Field(
        "xlm-roberta-base",
        description="Encoder or tagger to start from: hub name, folder (a path or any fsspec URL), "
        "or `tiny` (from nothing).",
    )
    replace_head: bool = Field(
        False,
        description="Of a tagger that lacks types of `data`, or tags of its own, keep the encoder "
        "alone; by default it is an error. A tagger that knows all of them, or more, always keeps "
        "its types.",
    )
    data: list[TaggedSourceConfig] = Field(min_length=1, description="What it learns from.")
    dev: list[TaggedSourceConfig] = Field(
        default_factory=list, description="Selection data; by default a held-out share of `data`."
    )
    select_on_target_gold: bool = Field(
        False,
        description="Allow `dev` to be labels of people in a language of which `data` has "
        "pseudo-labels alone. The result is then no longer one without target-language labels, and "
        "the model card says so.",
    )
    new_characters: Count | None = Field(
        None,
        description="Characters that the encoder does not know and `data` has at least this often "
        "become sub-words of their own: for a script that it was not trained on.",
    )
    word_aligner: str | None = Field(
        None,
        description="Folder of train_word_aligner, from a language that the encoder knows to that "
        "of `data`: the new characters begin as the mean of the words that they translate, and not "
        "as unknown ones. For scripts in which a character means something, as the Chinese.",
    )
    max_length: Count = Field(256, description="Longest window in sub-words.")
    license: str | None = Field(
        None, description="Licence for the model card, as the hub names it; by default `unknown`."
    )
    dropout: Share | None = Field(
        None, description="Dropout in training; by default the encoder's own."
    )
    loss: LossConfig = LossConfig()
    optimization: OptimizationConfig = OptimizationConfig()
    output: str = Field(description="Model folder to write.")
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _words_are_for_characters(self) -> TrainTaggerConfig:
        if self.word_aligner is not None and self.new_characters is None:
            raise ValueError("word_aligner is for new_characters, which is not set")
        return self

    @model_validator(mode="after")
    def _dev_is_read_once(self) -> TrainTaggerConfig:
        for source in self.dev:
            _check_read_once("dev", source)
        return self

    @model_validator(mode="after")
    def _students_come_to_agree(self) -> TrainTaggerConfig:
        _check_agreement(self.loss, self.optimization)
        return self


class NegativesMix(Record):
    """What kind of names are asked for that are not in the text: weights relative to each other."""

    anywhere: Weight = Field(1.0, description="Any name of the other examples of the language.")
    alike: Weight = Field(
        1.0,
        description="Names that look like one in the text: same origin, number of words, capitals.",
    )
    shared_word: Weight = Field(
        1.0, description="Names of several words that share some, not all, with one in the text."
    )

    @model_validator(mode="after")
    def _some_kind(self) -> NegativesMix:
        if not self.anywhere + self.alike + self.shared_word:
            raise ValueError("every weight is 0; negatives = 0 asks for no such names")
        return self


class AugmentationConfig(Record):
    """Shares of the examples that are varied, anew in each epoch, where their places stay known."""

    case: Share = Field(0.0, description="Text, names or both in lower case or in capitals.")
    form: Share = Field(
        0.0, description="A name in another of the forms (inflection, spelling) that examples show."
    )
    last_word: Share = Field(0.0, description="`John Smith` is only `Smith` in the text.")
    initials: Share = Field(0.0, description="`J. Smith`, in the text, in the name or in both.")
    acronym: Share = Field(0.0, description="`EU` for `European Union`, likewise.")


class TrainWordAlignerConfig(Record):
    """`train_word_aligner`: pairs shards of one language pair in, a word aligner out."""

    pairs: list[str] = Field(min_length=1, description="Folders or files of pairs shards.")
    max_pairs: Count = Field(
        300_000,
        description="Pairs to learn from at most (a fixed sample): some 3 KB of memory each, 11 KB "
        "where a side is written without spaces.",
    )
    prefix: Count = Field(
        5,
        description="Letters of a word that count; inflected forms then teach each other. Between "
        "scripts with spaces alone: against Chinese, whole words count.",
    )
    units: Count = Field(
        16_000,
        description="Size of the vocabulary of units that unspaced scripts are cut into.",
    )
    rounds: Count = Field(3, description="Rounds of the HMM, after four of IBM model 1.")
    seed: int = Field(0, description="Another seed draws another sample.")
    output: str = Field(description="Folder of the word aligner.")


class TrainAlignerConfig(Record):
    """`train_aligner`: alignment examples in, an entity aligner out."""

    encoder: str = Field(
        "xlm-roberta-base",
        description="Encoder to start from: hub name, folder (a path or any fsspec URL), or "
        "`tiny`.",
    )
    layout: Literal["single", "packed"] = Field(
        "packed",
        description="`single`: one entity a forward (the paper); `packed`: all of a sentence's.",
    )
    examples: list[str] = Field(min_length=1, description="Folders or files of alignment examples.")
    mix: dict[str, Weight] = Field(
        default_factory=dict,
        description="Weight of each origin of examples in an epoch; by default all origins weigh "
        "the same. An epoch has as many examples as there are, none more than four times.",
    )
    negatives: Share = Field(
        0.25,
        description="Chance, for each name of a sentence, that one is added that is not in it.",
    )
    negatives_mix: NegativesMix = NegativesMix()
    augmentation: AugmentationConfig = AugmentationConfig()
    max_length: Count = Field(256, description="Longest window in sub-words.")
    optimization: OptimizationConfig = OptimizationConfig()
    output: str = Field(description="Model folder to write.")
    engine: EngineConfig = EngineConfig()


class WikipediaConfig(Record):
    """A Wikipedia whose links make alignment examples, and what knows its English titles.

    Links `[[en:Title]]` in the dump are always read; the English wiki needs no other titles.
    """

    lang: Language = Field(description="Language of the wiki.")
    source_lang: Language = Field("en", description="Language of the names.")
    dumps: list[str] = Field(
        min_length=1,
        description="Files of its XML dump (pages-articles): plain, .gz or .bz2; a bzip2 file of "
        "several streams (multistream) is read in parallel.",
    )
    langlinks: str | None = Field(None, description="SQL dump of its table `langlinks`.")
    page: str | None = Field(None, description="SQL dump of its table `page`; with `langlinks`.")
    wikidata: list[str] = Field(
        default_factory=list,
        description="Dumps of Wikidata: JSON, an entity a line, or XML; plain, .gz or .bz2.",
    )
    wiki: str | None = Field(
        None, description="What Wikidata calls the wiki; by default `dewiki` for `de`."
    )
    max_chars: int = Field(300, ge=100, description="Longest text of an example, in characters.")

    @model_validator(mode="after")
    def _tables_come_together(self) -> WikipediaConfig:
        if (self.langlinks is None) != (self.page is None):
            raise ValueError("langlinks and page are of use only together")
        return self


class LinkedNamesConfig(Record):
    """Names of the English sentences, placed by word links and the evidence beside them."""

    links: LinksConfig = LinksConfig()
    min_score: Share = Field(
        0.9, description="Probability of a place from which on a name is taken."
    )


class BuildAlignmentSetConfig(Record):
    """`build_alignment_set`: pairs shards, tables of names and Wikipedias in, examples out."""

    pairs: list[str] = Field(
        default_factory=list, description="Folders of pairs shards, of any languages."
    )
    wikipedia: list[WikipediaConfig] = Field(
        default_factory=list, description="Wikipedias whose links are names."
    )
    tables: list[str] = Field(
        default_factory=list,
        description="Tables of names: CSV with columns `name_<language>`, or JSON code -> name "
        "with `{lang}` in the path.",
    )
    bitext: LinkedNamesConfig | None = Field(
        None, description="Names that word links find in the pairs; by default none."
    )
    carriers: int = Field(
        0,
        ge=0,
        description="Copies of an example with its names exchanged for others of the same table.",
    )
    max_per_name: Count = Field(20, description="Examples kept for one name.")
    max_examples: Count | None = Field(
        None, description="Examples of a language; by default all that max_per_name leaves."
    )
    seed: int = Field(0, description="Another seed keeps other examples.")
    output: str = Field(description="Folder for the examples, one file a language.")
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _something_to_read(self) -> BuildAlignmentSetConfig:
        if not self.pairs and not self.wikipedia:
            raise ValueError("nothing to read: name pairs or wikipedia")
        if self.bitext is not None and not self.pairs:
            raise ValueError("bitext finds names in pairs, but none are named")
        return self


class IdMapConfig(Record):
    """Which sentence translates which, where the sides of a gold do not run line by line."""

    path: str = Field(description="Tab-separated table, its columns named in the first line.")
    source_column: str = Field(description="Column with the `# sent_id` of the source sentence.")
    target_column: str = Field(description="Column with the `# sent_id` of the target sentence.")


class BootstrapConfig(Record):
    """Intervals and tests by resampling of sentences (Efron 1979)."""

    samples: Count = Field(1000, description="Resamples of the sentences.")
    seed: Seed = Field(0, description="Another seed draws other resamples.")


class EvaluateProjectionConfig(Record):
    """`evaluate_projection`: parallel gold in, scores of the projected mentions out."""

    source: TaggedSourceConfig = Field(description="Gold of the source side.")
    target: TaggedSourceConfig = Field(description="Gold of the target side.")
    id_map: IdMapConfig | None = Field(
        None, description="By default sentence n of one side translates sentence n of the other."
    )
    check_parallel: bool = Field(
        True,
        description="Refuse gold whose sides do not look like translations, by their lengths, "
        "numbers and names; `false` where they are known to be.",
    )
    mentions: Literal["gold", "teacher"] = Field(
        "gold",
        description="Source mentions to project: those of the gold, or what a teacher finds.",
    )
    teacher: TeacherConfig | None = Field(
        None, description='The English NER model (`mentions = "teacher"`).'
    )
    aligner: AlignerConfig
    quality: QualityConfig = Field(
        QualityConfig(), description="`labels` also says which types of the gold are scored."
    )
    bootstrap: BootstrapConfig = BootstrapConfig()
    num_examples: int = Field(10, ge=0, description="Errors of each kind kept as examples.")
    compare: str | None = Field(
        None, description="Output folder of another evaluation on the same gold, to test against."
    )
    output: str = Field(description="Folder for the scores and the predictions.")

    @model_validator(mode="after")
    def _gold_is_read_once(self) -> EvaluateProjectionConfig:
        _check_read_once("source", self.source)
        _check_read_once("target", self.target)
        return self

    @model_validator(mode="after")
    def _teacher_where_it_labels(self) -> EvaluateProjectionConfig:
        if (self.mentions == "teacher") != (self.teacher is not None):
            found = "no teacher" if self.teacher is None else "a teacher"
            raise ValueError(f'mentions = "{self.mentions}", but {found} is given')
        return self

    @model_validator(mode="after")
    def _gold_is_whole(self) -> EvaluateProjectionConfig:
        for side in ("source", "target"):
            gold = getattr(self, side)
            if gold.max_sentences is not None:
                raise ValueError(
                    f"{side}.max_sentences: a sample of one side is not parallel to the other"
                )
            _check_all_known(side, gold.label_map)
        return self


class EvaluatedModelConfig(ModelConfig):
    """A tagger to score."""

    name: Name = Field(description="What tables and files call it.")
    label_map: LabelMap = Field(
        default_factory=dict,
        description="Entity type of the model -> type in the gold; `O` drops a type. "
        "Empty: types are taken as they are; otherwise every type must be named.",
    )

    @model_validator(mode="after")
    def _types_are_known(self) -> EvaluatedModelConfig:
        _check_all_known(f"model {self.name}", self.label_map)
        return self


class GoldConfig(TaggedSourceConfig):
    """Tagged sentences to score on; predictions of types in `not_annotated` are left out."""

    name: Name = Field(description="What tables and files call it.")
    num_entities: int | None = Field(
        None, ge=0, description="Entities that must be found in it, where the number is known."
    )


def _check_all_known(what: str, label_map: LabelMap) -> None:
    if UNKNOWN in label_map.values():
        raise ValueError(f"{what}: label_map: ? is for sources that are trained on; O drops a type")


def _check_distinct(key: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{key}: two are named {name!r}")


def _check_whole(golds: Iterable[GoldConfig]) -> None:
    for gold in golds:
        if gold.max_sentences is not None:
            raise ValueError(f"gold {gold.name}: max_sentences: a sample's score is another")
        _check_read_once(f"gold {gold.name}", gold)
        _check_all_known(f"gold {gold.name}", gold.label_map)


class EvaluateTaggerConfig(Record):
    """`evaluate_tagger`: taggers and tagged gold in, scores and predictions out."""

    models: list[EvaluatedModelConfig] = Field(
        min_length=1, description="Taggers, each scored on each gold, and tested in pairs."
    )
    gold: list[GoldConfig] = Field(min_length=1, description="Gold sets.")
    bootstrap: BootstrapConfig = BootstrapConfig()
    output: str = Field(description="Folder for the scores and the predictions.")
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _names_are_distinct(self) -> EvaluateTaggerConfig:
        for key in ("models", "gold"):
            _check_distinct(key, [each.name for each in getattr(self, key)])
        return self

    @model_validator(mode="after")
    def _gold_is_whole(self) -> EvaluateTaggerConfig:
        _check_whole(self.gold)
        return self


class StudyLanguageConfig(Record):
    """A target language of the study."""

    lang: Language = Field(description="The language; gold and labelled text are in it too.")
    pairs: str = Field(description="Folder of its pairs shards, as prepare_corpus writes them.")
    gold: list[GoldConfig] = Field(min_length=1, description="Sets that every model is scored on.")
    train: list[TaggedSourceConfig] = Field(
        default_factory=list,
        description="Labelled text for the supervised upper bound; by default there is none.",
    )

    @model_validator(mode="after")
    def _names_are_distinct(self) -> StudyLanguageConfig:
        _check_distinct("gold", [gold.name for gold in self.gold])
        return self

    @model_validator(mode="after")
    def _gold_is_whole(self) -> StudyLanguageConfig:
        _check_whole(self.gold)
        return self

    @model_validator(mode="after")
    def _texts_are_of_the_language(self) -> StudyLanguageConfig:
        for source in (*self.gold, *self.train):
            lang = source.text_lang
            if language_of(lang) != language_of(self.lang):
                raise ValueError(f'{source.path}: lang is "{lang}", expected "{self.lang}"')
        return self


class StudyAlignerConfig(Record):
    """An aligner to compare: an entity aligner, word links, or both.

    Word links alone are the reference that others call word-alignment projection.
    """

    layout: Literal["single", "packed"] | None = Field(
        None, description="Layout of an entity aligner; by default there is none."
    )
    encoder: str | None = Field(
        None, description="Encoder of the entity aligner; by default that of the cell."
    )
    links: LinksConfig | None = Field(
        None, description="Word links; those of kind `hmm` are learned from each language's pairs."
    )

    @model_validator(mode="after")
    def _someone_aligns(self) -> StudyAlignerConfig:
        if self.layout is None and self.links is None:
            raise ValueError("nothing aligns: name layout or links")
        if self.layout is None and self.encoder is not None:
            raise ValueError("encoder is that of an entity aligner; name its layout")
        if self.links is not None and self.links.kind == "hmm" and self.links.model is not None:
            raise ValueError("links.model: the study trains a word aligner for each language")
        return self


OWN_TEACHER = "own"


class StudyGridConfig(Record):
    """What varies: every combination of these, in every language, is a cell."""

    encoders: list[str] = Field(
        ["xlm-roberta-base"],
        min_length=1,
        description="Encoders that student and entity aligner start from: hub names, or folders (a "
        "path or any fsspec URL).",
    )
    teachers: list[str] = Field(
        [OWN_TEACHER],
        min_length=1,
        description="Encoders that the teachers who label start from; `own`: that of the student.",
    )
    aligners: list[StudyAlignerConfig] = Field(
        [StudyAlignerConfig(links=LinksConfig())],
        min_length=1,
        description="What places the mentions in the translation.",
    )
    losses: list[LossConfig] = Field(
        [LossConfig()], min_length=1, description="Losses of the students."
    )
    initialisations: list[Literal["encoder", "teacher"]] = Field(
        ["teacher"],
        min_length=1,
        description="What a student starts from: its encoder, or the English teacher of that "
        "encoder.",
    )
    sizes: list[Count | Literal["all"]] = Field(
        ["all"],
        min_length=1,
        description="Accepted sentences to train on; a larger sample contains the smaller ones.",
    )
    domains: list[list[str]] = Field(
        [[]],
        min_length=1,
        description="Domains, each a list of corpora of the pairs; an empty one is all corpora.",
    )
    seeds: list[Seed] = Field(
        [0],
        min_length=1,
        description="Seeds of the students; teacher and aligner are trained once.",
    )

    @model_validator(mode="after")
    def _values_are_distinct(self) -> StudyGridConfig:
        for axis in StudyGridConfig.model_fields:
            values = getattr(self, axis)
            if any(value in values[:index] for index, value in enumerate(values)):
                raise ValueError(f"{axis}: a value stands there twice")
        return self


class StudyTeacherConfig(Record):
    """How the English teachers are trained: each is one step, so `num_workers` does not count."""

    data: list[TaggedSourceConfig] = Field(min_length=1, description="Labelled English text.")
    optimization: OptimizationConfig = OptimizationConfig()


class StudyEntityAlignerConfig(Record):
    """How the entity aligners are trained."""

    examples: list[str] = Field(
        default_factory=list, description="Folders or files of alignment examples."
    )
    optimization: OptimizationConfig = OptimizationConfig()


class StepConfig(Record):
    """What one step of the study (a training with its scoring, a projection) reserves."""

    num_cpus: float = Field(1.0, gt=0, description="CPUs of a step; also its threads.")
    num_gpus: float = Field(0.0, ge=0, description="GPUs of a step.")


class StudyConfig(Record):
    """`run_study`: a grid of teachers, aligners and students in, scores and a report out."""

    grid: StudyGridConfig = StudyGridConfig()
    languages: list[StudyLanguageConfig] = Field(
        min_length=1, description="The target languages, each with its text and its gold."
    )
    teacher: StudyTeacherConfig
    aligner: StudyEntityAlignerConfig = StudyEntityAlignerConfig()
    student: OptimizationConfig = Field(
        OptimizationConfig(), description="How students are trained, those on gold included."
    )
    quality: QualityConfig = QualityConfig()
    max_length: Count = Field(256, description="Longest window in sub-words, of every model.")
    batch_tokens: BatchTokens = Field(
        "auto", description="Sub-words of a batch where nothing is learned."
    )
    bootstrap: BootstrapConfig = Field(
        BootstrapConfig(),
        description="More samples are drawn where a table's many comparisons ask for them.",
    )
    keep_models: bool = Field(
        False,
        description="Keep each student's weights after it is scored: they add up. A gold set that "
        "comes later finds those that were kept; the others are trained again.",
    )
    output: str = Field(description="Folder for all that the study makes; all nodes must see it.")
    step: StepConfig = StepConfig()
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _languages_are_distinct(self) -> StudyConfig:
        _check_distinct("languages", [each.lang for each in self.languages])
        return self

    @model_validator(mode="after")
    def _students_come_to_agree(self) -> StudyConfig:
        for loss in self.grid.losses:
            _check_agreement(loss, self.student)
        return self

    @model_validator(mode="after")
    def _entity_aligners_have_examples(self) -> StudyConfig:
        if any(each.layout for each in self.grid.aligners) and not self.aligner.examples:
            raise ValueError("aligner.examples: an entity aligner needs some to learn from")
        return self


class QuickstartConfig(Record):
    """`quickstart`: the whole way on the built-in miniature world."""

    pairs: Count = Field(
        1500, description="Sentence pairs of each archive: two corpora in four languages."
    )
    teacher_sentences: Count = Field(8000, description="Labelled English sentences.")
    aligner_examples: Count = Field(
        5500, description="Alignment examples of each language; twice as many of Chinese."
    )
    test_sentences: Count = Field(500, description="Sentences that everything is scored on.")
    seed: Seed = Field(0, description="Another seed makes other sentences and other models.")
    output: str = Field("runs/quickstart", description="Folder for all that the run makes.")
    engine: EngineConfig = EngineConfig()
