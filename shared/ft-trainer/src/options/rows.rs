//! Which rows go together, and in which order.

/// The order and the grouping of the rows.
#[derive(Debug, Clone)]
pub struct RowOptions {
    /// Seed of the rows' order; that of training where it is none.
    pub data_seed: Option<u64>,
    /// Whether the rows come in another order than the file's, another one in every epoch.
    pub shuffle: bool,
    /// Whether rows of about one length go into one batch.
    pub group_by_length: bool,
    /// Whether each sequence of `max_seq_length` tokens is filled with whole rows, which never see each other.
    pub packing: bool,
    /// Longest row, in tokens, and the length that packing fills; where it is none, what the model takes, and for
    /// packing 1024.
    pub max_seq_length: Option<u32>,
    /// What happens to rows over `max_seq_length`.
    pub overlong: Overlong,
    /// Whether an epoch's last sequences are left out where they do not fill a step.
    pub dataloader_drop_last: bool,
}

impl Default for RowOptions {
    fn default() -> Self {
        Self {
            data_seed: None,
            shuffle: true,
            group_by_length: false,
            packing: false,
            max_seq_length: None,
            overlong: Overlong::Error,
            dataloader_drop_last: false,
        }
    }
}

ft_io::named_values! {
    /// What happens to rows that are too long.
    pub enum Overlong {
        /// The run stops before it begins
        Error = ["error"],
        /// They are left out, and counted
        Drop = ["drop"],
        /// Their ends are cut off, and counted
        Truncate = ["truncate"],
    }
}
