//! Which columns make the examples.

use super::reading::Reading;

/// How the rows of one input become examples: which column holds what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The shape's name in reports.
    pub name: &'static str,
    /// The question or the conversation.
    pub input: Option<String>,
    /// Whether `input` must be a conversation.
    pub conversation: bool,
    /// The answer, where it is not part of the conversation.
    pub output: Option<String>,
    /// The system message.
    pub system: Option<String>,
    /// Alpaca's `input`, appended to the instruction.
    pub context: Option<String>,
    /// Alpaca's earlier turns.
    pub history: Option<String>,
    /// Whole documents in place of a conversation.
    pub text: Option<String>,
    /// Tools.
    pub tools: Option<String>,
    /// Tools in their old form.
    pub functions: Option<String>,
    /// Variables of the template.
    pub variables: Option<String>,
}

/// Question and answer under the names that data sets have for them, those that come first win.
const PAIRS: [(&str, &str, &str); 9] = [
    ("alpaca", "instruction", "output"),
    ("instruction/response", "instruction", "response"),
    ("prompt/completion", "prompt", "completion"),
    ("prompt/response", "prompt", "response"),
    ("question/answer", "question", "answer"),
    ("query/response", "query", "response"),
    ("question/response", "question", "response"),
    ("evals", "input", "ideal"),
    ("input/output", "input", "output"),
];

/// Columns that may hold the prompt of a preference pair.
const PROMPTS: [&str; 5] = ["prompt", "question", "instruction", "query", "input"];

/// The shapes in words, for messages.
pub fn shape_names() -> String {
    let pairs = PAIRS.iter().map(|(_, input, output)| format!("{input}/{output}"));
    let whole = ["messages", "conversations"].map(str::to_owned).into_iter();
    whole.chain(pairs).chain(["chosen/rejected", "text"].map(str::to_owned)).collect::<Vec<_>>().join(", ")
}

impl Shape {
    /// The shape that the columns (or keys) tell; none where they tell none, or where they are preference pairs and
    /// `reading` says of neither side that it is asked for.
    pub fn detect(columns: &[String], reading: &Reading) -> Option<Self> {
        let has = |name: &str| find(columns, name);
        if let Some(side) = reading.preference
            && let Some(output) = has(side.column())
        {
            let input = PROMPTS.iter().find_map(|name| has(name));
            let conversation = input.is_none();
            let (input, output) = if conversation { (Some(output), None) } else { (input, Some(output)) };
            return Some(Self { input, conversation, output, ..Self::with_usual(side.column(), columns) });
        }
        for (name, column) in [("messages", "messages"), ("sharegpt", "conversations")] {
            if let Some(input) = has(column) {
                return Some(Self { input: Some(input), conversation: true, ..Self::with_usual(name, columns) });
            }
        }
        for (name, input, output) in PAIRS {
            if let (Some(input), Some(output)) = (has(input), has(output)) {
                let mut shape = Self { input: Some(input), output: Some(output), ..Self::with_usual(name, columns) };
                if name == "alpaca" || name == "instruction/response" {
                    let context = has("input").or(has("context")).unwrap_or_else(|| "input".into());
                    shape.context = Some(context);
                    shape.history = Some(has("history").unwrap_or_else(|| "history".into()));
                }
                return Some(shape);
            }
        }
        has("text").map(|text| Self { name: "text", text: Some(text), ..Self::default() })
    }

    /// Named columns: a question and an answer, or a conversation.
    pub fn named(input: &str, conversation: bool, output: Option<&str>, system: Option<&str>) -> Self {
        Self {
            input: Some(input.into()),
            conversation,
            output: output.map(Into::into),
            system: system.map(Into::into),
            tools: Some("tools".into()),
            functions: Some("functions".into()),
            variables: Some("chat_template_kwargs".into()),
            ..Self { name: "named columns", ..Self::default() }
        }
    }

    /// A shape with what may stand beside every conversation. Such a column may turn up in a later row of JSON only.
    fn with_usual(name: &'static str, columns: &[String]) -> Self {
        let usual = |name: &str| Some(find(columns, name).unwrap_or_else(|| name.into()));
        Self {
            name,
            system: find(columns, "system").or_else(|| find(columns, "system_prompt")).or_else(|| usual("system")),
            tools: usual("tools"),
            functions: usual("functions"),
            variables: usual("chat_template_kwargs"),
            ..Self::default()
        }
    }

    /// The columns without which there is no example.
    pub fn required(&self) -> impl Iterator<Item = &String> {
        let named = (self.name == "named columns").then_some(self.system.as_ref()).flatten();
        [&self.input, &self.output, &self.text].into_iter().flatten().chain(named)
    }

    /// All columns that may be read.
    pub fn columns(&self) -> impl Iterator<Item = &String> {
        let optional = [&self.system, &self.context, &self.history, &self.tools, &self.functions, &self.variables];
        [&self.input, &self.output, &self.text].into_iter().chain(optional).flatten()
    }

    /// The columns to read of an input that has `present`: those that are required, and the others that are there.
    pub fn columns_of(&self, present: &[String]) -> Vec<String> {
        let required: Vec<_> = self.required().collect();
        let wanted = self.columns().filter(|column| required.contains(column) || present.contains(column));
        let mut columns: Vec<String> = Vec::new();
        for column in wanted {
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
        columns
    }

    /// Question and answer in two columns, and perhaps a system message: nothing else is read of an input that has
    /// `present`.
    pub fn is_pair(&self, present: impl Fn(&str) -> bool) -> bool {
        let more = [&self.context, &self.history, &self.tools, &self.functions, &self.variables];
        !self.conversation
            && self.output.is_some()
            && self.text.is_none()
            && !more.into_iter().flatten().any(|column| present(column))
    }
}

/// The column of this name, or the only one that has it in another case.
fn find(columns: &[String], name: &str) -> Option<String> {
    if columns.iter().any(|column| column == name) {
        return Some(name.into());
    }
    let mut other = columns.iter().filter(|column| column.eq_ignore_ascii_case(name));
    other.next().filter(|_| other.next().is_none()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(columns: &[&str]) -> Option<&'static str> {
        let columns: Vec<_> = columns.iter().map(|&name| name.to_owned()).collect();
        Shape::detect(&columns, &Reading::default()).map(|shape| shape.name)
    }

    #[test]
    fn shapes_are_known_by_their_columns() {
        for (columns, name) in [
            (&["id", "messages", "prompt"][..], "messages"),
            (&["conversations"], "sharegpt"),
            (&["instruction", "input", "output", "text"], "alpaca"),
            (&["instruction", "context", "response"], "instruction/response"),
            (&["completion", "prompt"], "prompt/completion"),
            (&["prompt", "response"], "prompt/response"),
            (&["Question", "Answer"], "question/answer"),
            (&["query", "response"], "query/response"),
            (&["input", "ideal"], "evals"),
            (&["input", "output"], "input/output"),
            (&["text", "id"], "text"),
        ] {
            assert_eq!(shape(columns), Some(name), "{columns:?}");
        }
        assert_eq!(shape(&["headline", "body"]), None);
        assert_eq!(shape(&["prompt", "chosen", "rejected"]), None);
    }

    #[test]
    fn only_what_is_there_is_read() {
        let present = ["prompt", "completion", "id"].map(str::to_owned);
        let shape = Shape::detect(&present, &Reading::default()).unwrap();
        assert_eq!(shape.columns_of(&present), ["prompt", "completion"]);
        assert!(shape.is_pair(|column| present.iter().any(|name| name == column)));
        assert!(!shape.is_pair(|column| column == "tools"));
    }
}
