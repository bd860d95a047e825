//! Which columns make the messages.

use ft_cli::Usage;

use crate::args::Args;

/// How rows of one input become examples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The shape's name in reports.
    pub shape: &'static str,
    /// The question or the conversation.
    pub input: String,
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
}

impl Recipe {
    /// The recipe that the arguments name, if they name one.
    pub fn from_args(args: &Args) -> Option<Self> {
        let conversation = args.messages_column.is_some();
        let input = args.messages_column.clone().or(args.input_column.clone())?;
        Some(Self {
            conversation,
            output: args.output_column.clone(),
            system: args.system_column.clone(),
            ..Self::new("named columns", &input)
        })
    }

    /// The recipe that the columns tell.
    pub fn detect(columns: &[String]) -> Option<Self> {
        let has = |name: &str| columns.iter().any(|column| column == name);
        let optional = |name: &str| has(name).then(|| name.to_owned());
        let pair = |shape, input, output: &str| Self { output: Some(output.to_owned()), ..Self::new(shape, input) };
        if has("messages") {
            Some(Self { conversation: true, ..Self::new("messages", "messages") })
        } else if has("conversations") {
            Some(Self { conversation: true, system: optional("system"), ..Self::new("sharegpt", "conversations") })
        } else if has("instruction") && has("output") {
            Some(Self {
                system: optional("system"),
                context: optional("input"),
                history: optional("history"),
                ..pair("alpaca", "instruction", "output")
            })
        } else if has("prompt") && has("completion") {
            Some(pair("prompt/completion", "prompt", "completion"))
        } else if has("input") && has("ideal") {
            Some(pair("evals", "input", "ideal"))
        } else if has("input") && has("output") {
            Some(Self { system: optional("system"), ..pair("input/output", "input", "output") })
        } else {
            None
        }
    }

    fn new(shape: &'static str, input: &str) -> Self {
        Self {
            shape,
            input: input.to_owned(),
            conversation: false,
            output: None,
            system: None,
            context: None,
            history: None,
        }
    }

    /// The columns that it reads.
    pub fn columns(&self) -> Vec<String> {
        let optional = [&self.output, &self.system, &self.context, &self.history];
        std::iter::once(&self.input).chain(optional.into_iter().flatten()).cloned().collect()
    }

    /// Question and answer, and perhaps a system message, and nothing else.
    pub fn is_pair(&self) -> bool {
        !self.conversation && self.context.is_none() && self.history.is_none()
    }
}

/// The error for columns that tell no shape.
pub fn unknown_shape(name: &str, columns: &[String]) -> anyhow::Error {
    let names: Vec<_> = columns.iter().map(|name| format!("'{name}'")).collect();
    let told = format!(
        "{name}: the columns {} tell no known shape (messages, conversations, instruction/output, \
         prompt/completion, input/ideal, input/output); name them with --input-column and \
         --output-column, or --messages-column",
        names.join(", ")
    );
    Usage(told).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(columns: &[&str]) -> Option<&'static str> {
        let columns: Vec<_> = columns.iter().map(|&name| name.to_owned()).collect();
        Recipe::detect(&columns).map(|recipe| recipe.shape)
    }

    #[test]
    fn shapes_are_known_by_their_columns() {
        assert_eq!(shape(&["id", "messages", "prompt"]), Some("messages"));
        assert_eq!(shape(&["conversations"]), Some("sharegpt"));
        assert_eq!(shape(&["instruction", "input", "output"]), Some("alpaca"));
        assert_eq!(shape(&["completion", "prompt"]), Some("prompt/completion"));
        assert_eq!(shape(&["input", "ideal"]), Some("evals"));
        assert_eq!(shape(&["input", "output"]), Some("input/output"));
        assert_eq!(shape(&["question", "answer"]), None);
    }
}
