//! What `--help` says around the options.

/// In one line.
pub const ABOUT: &str = "Turn rows of any common format and shape into examples for fine-tuning";

/// At length.
pub const LONG_ABOUT: &str = "\
Turn rows of any common format and shape into examples for fine-tuning.

Reads CSV, TSV, JSON lines, a JSON array, Parquet or Arrow, plain or compressed with gzip or \
zstd, from files or a pipe. Writes Parquet with one column, messages: list<struct<role, \
content, …>>, which ft-template takes next, and the columns that --keep-columns names.

These shapes are known by their columns:

  messages                   a list of {role, content}
  conversations              ShareGPT: a list of {from, value}
  instruction, output        Alpaca; with input and history where they are there
  prompt, completion         text, or lists of messages, also as JSON in a text;
                             so are prompt, response and the like:
  question, answer           also query, response; instruction, response
  input, ideal               evals: messages or text, and the answer or a list of answers
  input, output              text
  prompt, chosen, rejected   preference pairs: --preference says which side is read
  text                       whole documents to go on learning with: no messages

Beside each of them (but text) stand, where the input has them: system, a system message for \
a row that has none; tools (or functions, the old form) and chat_template_kwargs, which the \
template takes.

A message keeps role, content, name, reasoning_content (or reasoning, thinking), tool_calls \
(or function_call), tool_call_id, and whether it is learned: weight 0 or 1, train, training, \
loss, masked. What is not read, a column, a key or a field, is told.

Anything else is named: --input-column and --output-column for question and answer, \
--messages-column for a conversation.

A row without a question or without an answer is dropped and counted, and so is one with an \
image, audio or a file in it; a row that cannot be understood is an error that names its line.";

/// Behind the options.
pub const EXAMPLES: &str = "\
Examples:
  ft-prep chats.jsonl -o examples.parquet
  ft-prep faq.csv --input-column question --output-column answer --test-size 0.1 -o data/
  zcat dump.json.gz | ft-prep - --dedup -o - | ft-template --model MODEL -o tokens.parquet
  ft-prep a.parquet b.csv.zst --test-size 500 --split test --seed 7 -o test.parquet

--test-size F takes ceil(F x rows) rows for the test side, N takes N rows; the same seed and \
rows always give the same sides, from files or pipes. Both sides keep the order of the input.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.";
