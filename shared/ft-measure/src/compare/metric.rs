//! What rows are compared by.

ft_io::named_values! {
    /// A figure that every row has, by the name of its column.
    pub enum Metric {
        /// The mean loss of a row's labels, in nats
        Loss = ["loss"],
        /// Whether the answer is its reference
        ExactMatch = ["exact_match"],
        /// The F1 of the answer's words
        F1 = ["f1"],
        /// ROUGE-L's F measure of the answer
        RougeL = ["rouge_l"],
        /// Whether the likeliest choice is the right one
        Acc = ["acc"],
        /// The same, by likelihood a character of the choice's text
        AccNorm = ["acc_norm"],
    }
}

impl Metric {
    /// Whether less of it is better.
    pub fn lower_is_better(self) -> bool {
        self == Self::Loss
    }
}
