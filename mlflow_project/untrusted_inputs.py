"""The table of everything that strangers send and that this project interprets, each with its bound and its test.

Strangers are callers of the server, authors of prompts and texts, and providers. Whoever adds a kind of input adds its
row; `tests/contracts/test_untrusted_inputs.py` checks that what a row names exists, and that every module that reads a
format by a parser of its own (YAML, HTML, JSON schemas) has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class UntrustedInput:
    """`read_by` is the function or class that interprets it; `bound` says in what size and time; `test` shows that."""

    what: str
    sender: Literal["caller", "author", "provider"]
    read_by: str
    bound: str
    test: str


UNTRUSTED_INPUTS: tuple[UntrustedInput, ...] = (
    UntrustedInput(
        "a record for the ingestion service, or in Kafka",
        "caller",
        "mlflow_project.rules.ingestion.Stream.read",
        "1 MiB over HTTP (a setting), 4 MiB in Kafka; 254 levels; the schemas are this project's own; 20 mistakes",
        "tests/attacks/test_ingestion.py::test_no_record_is_an_error_of_the_services",
    ),
    UntrustedInput(
        "a body for the ingestion service",
        "caller",
        "ingestion.lines.elements_of",
        "arrays: 8 MiB, 10,000 records, 30 s; NDJSON: any length, 1 MiB a line, 60 s of silence",
        "tests/attacks/test_ingestion.py::test_no_record_is_an_error_of_the_services",
    ),
    UntrustedInput(
        "the head of a request",
        "caller",
        "mlflow_project.web.protocol.PatientHttp",
        "64 KiB, and 10 s to arrive",
        "tests/unit/test_protocol.py",
    ),
    UntrustedInput(
        "the body of a request",
        "caller",
        "serving.edge.body.read_body",
        "1 MiB and 10 s (settings), 20,000 values; FastAPI refuses what is nested too deeply",
        "tests/attacks/test_callers.py::test_no_body_is_an_error_of_the_servers_or_holds_others_up",
    ),
    UntrustedInput(
        "the fields of a request that are wrong",
        "caller",
        "mlflow_project.web.problems.response",
        "20 of them are reported, with 100 characters of each name",
        "tests/attacks/test_callers.py::test_no_body_is_an_error_of_the_servers_or_holds_others_up",
    ),
    UntrustedInput(
        "headers",
        "caller",
        "serving.edge.middleware.Edge",
        "as large as the head may be; what is not well formed is passed over or refused",
        "tests/attacks/test_callers.py::test_no_header_is_an_error_of_the_servers",
    ),
    UntrustedInput(
        "a JSON schema in `response_format`",
        "caller",
        "mlflow_project.rules.json_schema.Schema",
        "64 KiB, 1,000 subschemas, 100 patterns, 1,000 checks of one value, nothing fetched; on arrival",
        "tests/attacks/test_schemas.py::test_a_hostile_schema_is_refused_in_words_and_holds_nobody_up",
    ),
    UntrustedInput(
        "a question, a context and earlier turns",
        "caller",
        "mlflow_project.rules.templates.Template.render",
        "200,000 characters each (a setting); values are never read as a template",
        "tests/attacks/test_callers.py::test_no_long_text_of_a_callers_holds_others_up",
    ),
    UntrustedInput(
        "a text for `extractive` or `lexicon`",
        "caller",
        "mlflow_project.adapters.providers.extractive.Extractive.complete",
        "more than 8,000 characters are read in a thread",
        "tests/attacks/test_callers.py::test_no_long_text_of_a_callers_holds_others_up",
    ),
    UntrustedInput(
        "a question for an index",
        "caller",
        "mlflow_project.adapters.retrieval.index.Index.search",
        "64 different words, no query language; slow indexes, and long questions, are searched in threads",
        "tests/unit/test_retrieval.py",
    ),
    UntrustedInput(
        "texts to embed",
        "caller",
        "mlflow_project.adapters.retrieval.embeddings.embed",
        "2,048 texts, in a thread, 20,000 characters at a time",
        "tests/attacks/test_callers.py::test_no_embedding_of_a_callers_holds_others_up",
    ),
    UntrustedInput(
        "texts that are masked",
        "caller",
        "mlflow_project.rules.masking.Masker",
        "a limit of time for each text; what takes longer is withheld",
        "tests/attacks/test_masking.py",
    ),
    UntrustedInput(
        "a response schema",
        "author",
        "mlflow_project.rules.json_schema.Schema",
        "as a caller's; checked when the template is registered, and when a release is made ready",
        "tests/attacks/test_prompt_files.py::test_a_response_schema_that_cannot_be_used_is_a_mistake_of_the_template",
    ),
    UntrustedInput(
        "a template",
        "author",
        "mlflow_project.rules.templates.compile_template",
        "one pass over its characters; slots only, no code",
        "tests/attacks/test_prompt_files.py::test_a_hostile_template_is_read_in_linear_time",
    ),
    UntrustedInput(
        "front matter and policies",
        "author",
        "mlflow_project.rules.plain_yaml.read_yaml",
        "1,000,000 characters, 50 levels, no aliases, no objects of Python",
        "tests/attacks/test_prompt_files.py::test_hostile_yaml_in_a_template_or_policy_is_one_sentence",
    ),
    UntrustedInput(
        "cases",
        "author",
        "mlflow_project.evaluation.cases.load_cases",
        "a line that is no JSON, or nested too deeply, is a mistake with its number",
        "tests/attacks/test_prompt_files.py::test_a_case_nested_too_deeply_is_a_mistake_of_its_line",
    ),
    UntrustedInput(
        "content of a version in MLflow",
        "author",
        "mlflow_project.rules.content.manifest_of",
        "read by the follower, never by a worker; what is no JSON is refused with its tag",
        "tests/unit/test_content.py",
    ),
    UntrustedInput(
        "rows of a request for predictions, as JSON",
        "caller",
        "mlflow_project.models.requests.read_json",
        "32 MiB, two large bodies at a time, 5,000,000 values, 100,000 rows; every value is checked by the signature",
        "tests/unit/test_model_requests.py::test_a_body_of_another_form_is_a_bad_request",
    ),
    UntrustedInput(
        "rows of a request for predictions, as CSV",
        "caller",
        "mlflow_project.models.requests.read_csv",
        "32 MiB, two large bodies at a time, 131,072 characters of a field, 100,000 rows",
        "tests/unit/test_model_requests.py::test_a_csv_that_does_not_fit_says_where",
    ),
    UntrustedInput(
        "a request of KServe's protocol",
        "caller",
        "mlflow_project.models.kserve.read_v2",
        "as for JSON; a tensor has as many values as its shape says",
        "tests/unit/test_model_requests.py::test_kserves_protocol_says_what_is_wrong",
    ),
    UntrustedInput(
        "the file MLmodel of a logged model",
        "author",
        "mlflow_project.rules.mlmodel.describe",
        "1,000,000 characters, 50 levels, no aliases; what brings code of its own is refused",
        "tests/unit/test_mlmodel.py::test_what_cannot_be_released_is_one_sentence",
    ),
    UntrustedInput(
        "the data file of a model",
        "author",
        "mlflow_project.models.loading.load_model",
        "1 GiB packed and unpacked; classes that neither the pinned list nor the policy trusts are refused",
        "tests/unit/test_model_loading.py::test_a_class_that_nobody_trusts_is_refused",
    ),
    UntrustedInput(
        "an ONNX sentence model",
        "author",
        "mlflow_project.adapters.retrieval.sentence_model.SentenceModel",
        "operators of onnxruntime and no code; a file with another digest than the index names is refused",
        "tests/unit/test_sentence_model.py::test_a_folder_that_is_no_model_or_not_the_pinned_one_is_refused_in_words",
    ),
    UntrustedInput(
        "the trees of a LightGBM model",
        "author",
        "mlflow_project.rules.lightgbm_text.check_trees",
        "read in a process of its own, which loads the model before a worker does, under limits for time and memory",
        "tests/attacks/test_model_files.py::test_a_number_that_points_outside_of_a_tree_is_refused",
    ),
    UntrustedInput(
        "PDF, Word, PowerPoint, EPUB, e-mail and HTML files",
        "author",
        "mlflow_project.rules.documents.reading.read_document",
        "64 MiB; in a child process with 1 GiB of memory, 300 s of processor time for a file and 10 s for a page; "
        "archives that unpack to 256 MiB at most",
        "tests/attacks/test_documents.py::test_a_document_that_takes_too_long_ends_its_reader_and_not_the_next_document",
    ),
    UntrustedInput(
        "the package document of an EPUB",
        "author",
        "mlflow_project.rules.documents.epub.open_epub",
        "as above; no entities, no network",
        "tests/unit/test_documents.py::test_a_broken_file_is_unreadable_and_says_so",
    ),
    UntrustedInput(
        "the HTML of a page, as trafilatura reads it",
        "author",
        "mlflow_project.rules.documents.web_page.open_page",
        "as above",
        "tests/attacks/test_documents.py::test_a_document_that_takes_too_much_memory_is_rejected_and_the_next_one_is_read",
    ),
    UntrustedInput(
        "pages of HTML",
        "author",
        "mlflow_project.rules.chunking.html_page.visible_text",
        "as above, and in time that grows with their length",
        "tests/attacks/test_documents.py::test_a_hostile_page_is_read_in_linear_time",
    ),
    UntrustedInput(
        "Markdown",
        "author",
        "mlflow_project.rules.chunking.structure.structure_of",
        "in time that grows with its length; read in Spark's workers",
        "tests/attacks/test_documents.py::test_hostile_markdown_is_read_in_linear_time",
    ),
    UntrustedInput(
        "an answer",
        "provider",
        "mlflow_project.adapters.providers.upstream.Upstream.whole",
        "8 MiB unpacked, 500,000 parts of JSON; seconds to connect, to the first byte, between bytes, and in all",
        "tests/attacks/test_hostile_providers.py::test_a_hostile_answer_is_a_providers_error_in_bounded_time",
    ),
    UntrustedInput(
        "vectors",
        "provider",
        "mlflow_project.adapters.providers.embedding.EmbeddingEndpoint.embed",
        "bounded like an answer; a finite vector for each text, all of the index's number of dimensions",
        "tests/answering/test_embedding_endpoints.py::test_what_is_no_answer_is_an_error_without_the_text",
    ),
    UntrustedInput(
        "a stream of events",
        "provider",
        "mlflow_project.adapters.providers.upstream.Upstream.pieces",
        "8 MiB of events, and the same limits of time",
        "tests/attacks/test_hostile_providers.py::test_a_hostile_stream_is_a_providers_error_too",
    ),
    UntrustedInput(
        "an error message",
        "provider",
        "mlflow_project.adapters.providers.complaint.complaint",
        "64 KiB are read, 2,000 characters compared with the prompt, 300 shown",
        "tests/attacks/test_hostile_providers.py::test_a_complaint_is_compared_with_a_long_prompt_in_little_time",
    ),
    UntrustedInput(
        "`Retry-After`",
        "provider",
        "mlflow_project.adapters.providers.complaint.retry_after",
        "at most a day; what is no number and no date is passed over",
        "tests/attacks/test_hostile_providers.py::test_a_wait_is_a_number_of_seconds_up_to_a_day_or_nothing",
    ),
    UntrustedInput(
        "a JSON answer under a response schema",
        "provider",
        "mlflow_project.rules.json_schema.Schema.read",
        "200,000 checks, 30,000 characters where the schema has patterns, 200 levels",
        "tests/attacks/test_schemas.py::test_a_large_answer_under_a_legal_schema_holds_nobody_up",
    ),
    UntrustedInput(
        "citation marks in an answer",
        "provider",
        "mlflow_project.rules.citation_marks.cited_numbers",
        "the first 300,000 characters, in one pass",
        "tests/attacks/test_callers.py::test_no_long_answer_of_a_providers_holds_others_up",
    ),
    UntrustedInput(
        "a features.yaml or model.yaml",
        "author",
        "mlflow_project.training.files.read_declaration",
        "1,000,000 characters, 50 levels, no aliases; unknown keys and wrong types are refused",
        "tests/unit/test_training.py",
    ),
    UntrustedInput(
        "a line of raw events",
        "author",
        "mlflow_project.rules.features.lines.read_event",
        "strict types, finite numbers, times with an offset; what does not fit goes to the quarantine",
        "tests/unit/test_feature_lines.py",
    ),
    UntrustedInput(
        "a form of the console",
        "caller",
        "console.edge.read_form",
        "256 KiB, 50 fields and 10 s; without the token of the session nothing is done",
        "tests/unit/test_console.py::test_a_large_form_and_another_type_of_body_are_refused",
    ),
)
