//! Event files that TensorBoard reads: scalars under the names that transformers gives them, the hyperparameters, and
//! the dataset's figures as text.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use serde_json::{Map, Value};

use super::event::{
    Dimension, Event, Hparam, HparamValue, HparamsData, Metadata, Plugin, SessionLog, SessionStart, Shape,
    StringTensor, Summary, SummaryValue, What,
};

use crate::error::{Context, Result};

/// One event file, open.
pub struct TensorBoard {
    path: PathBuf,
    file: File,
}

impl TensorBoard {
    /// Begins a file in `folder`; what earlier files there say of steps after `step` is to be forgotten.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(folder: &Path, step: u64) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder '{}'", folder.display()))?;
        let now = now();
        // Readers take files in the order of their names; the process tells apart what began in one second.
        let path = folder.join(format!("events.out.tfevents.{:010}.ft-train.{}", now as u64, std::process::id()));
        let file = File::create(&path).with_context(|| format!("cannot write '{}'", path.display()))?;
        let mut board = Self { path, file };
        board.write(0, What::FileVersion("brain.Event:2".into()))?;
        if step > 0 {
            board.write(step + 1, What::SessionLog(SessionLog { status: 1 }))?;
        }
        Ok(board)
    }

    /// The figures of a log entry: `loss` as `train/loss`, `eval_loss` as `eval/loss`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scalars(&mut self, step: u64, entry: &Map<String, Value>) -> Result<()> {
        let figure = |(key, value): (&String, &Value)| {
            let tag = key.strip_prefix("eval_").map_or_else(|| format!("train/{key}"), |key| format!("eval/{key}"));
            Some(SummaryValue { tag, simple_value: Some(value.as_f64()? as f32), ..SummaryValue::default() })
        };
        let value = entry.iter().filter(|(key, _)| *key != "step").filter_map(figure).collect();
        self.write(step, What::Summary(Summary { value }))
    }

    /// A text under `tag`, in Markdown.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn text(&mut self, tag: &str, text: &str) -> Result<()> {
        let tensor = StringTensor {
            dtype: 7,
            shape: Some(Shape { dim: vec![Dimension { size: 1 }] }),
            strings: vec![text.as_bytes().to_vec()],
        };
        self.summary(SummaryValue {
            tag: format!("{tag}/text_summary"),
            tensor: Some(tensor),
            metadata: Some(plugin("text", Vec::new())),
            ..SummaryValue::default()
        })
    }

    /// The hyperparameters of the run; what is null, a list or a map goes as JSON text.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn hparams(&mut self, group: &str, hparams: &Map<String, Value>) -> Result<()> {
        let hparam = |value: &Value| {
            let value = match value {
                Value::Bool(x) => HparamValue::Bool(*x),
                Value::Number(x) => HparamValue::Number(x.as_f64().unwrap_or(f64::NAN)),
                Value::String(x) => HparamValue::Text(x.clone()),
                other => HparamValue::Text(other.to_string()),
            };
            Hparam { value: Some(value) }
        };
        let start = SessionStart {
            hparams: hparams.iter().map(|(key, value)| (key.clone(), hparam(value))).collect(),
            group: group.into(),
            start_time: now(),
        };
        let data = HparamsData { version: 0, start: Some(start) };
        self.summary(SummaryValue {
            tag: "_hparams_/session_start_info".into(),
            metadata: Some(plugin("hparams", data.encode_to_vec())),
            ..SummaryValue::default()
        })
    }

    fn summary(&mut self, value: SummaryValue) -> Result<()> {
        self.write(0, What::Summary(Summary { value: vec![value] }))
    }

    fn write(&mut self, step: u64, what: What) -> Result<()> {
        let event = Event { wall_time: now(), step: step as i64, what: Some(what) };
        let written = self.file.write_all(&record(&event.encode_to_vec()));
        written.with_context(|| format!("cannot write '{}'", self.path.display()))
    }
}

fn plugin(name: &str, content: Vec<u8>) -> Metadata {
    Metadata { plugin: Some(Plugin { name: name.into(), content }) }
}

/// TensorFlow's record: the length, its checksum, the data, their checksum.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length).to_le_bytes(), data, &masked(data).to_le_bytes()].concat()
}

/// A checksum of data that may hold checksums themselves (`record_writer.cc`).
fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn events(bytes: &[u8]) -> Vec<Event> {
        let (mut rest, mut found) = (bytes, Vec::new());
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let data = &rest[12..12 + length];
            assert_eq!(rest[..16 + length], record(data), "the checksums");
            found.push(Event::decode(data).unwrap());
            rest = &rest[16 + length..];
        }
        found
    }

    #[test]
    fn a_resumed_run_forgets_later_steps_and_names_are_transformers() {
        let dir = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::create(dir.path(), 4).unwrap();
        let entry = json!({"loss": 2.5, "eval_loss": 3.0, "step": 5});
        board.scalars(5, entry.as_object().unwrap()).unwrap();
        board.hparams("run", json!({"lora_r": 8, "packing": false, "seed": null}).as_object().unwrap()).unwrap();
        board.text("dataset", "18 rows").unwrap();
        let events = events(&std::fs::read(&board.path).unwrap());
        assert_eq!(events[0].what, Some(What::FileVersion("brain.Event:2".into())));
        assert_eq!((events[1].step, &events[1].what), (5, &Some(What::SessionLog(SessionLog { status: 1 }))));
        let Some(What::Summary(summary)) = &events[2].what else { panic!("{events:?}") };
        let tags: Vec<_> = summary.value.iter().map(|v| (v.tag.as_str(), v.simple_value)).collect();
        assert_eq!(tags, [("train/loss", Some(2.5)), ("eval/loss", Some(3.0))]);
        assert_eq!(events.len(), 5);
    }

    /// Of the first record that tensorboard's own writer writes, by `masked_crc32c` of its Python package.
    #[test]
    fn checksums_are_tensorflows() {
        assert_eq!([masked(&24u64.to_le_bytes()), masked(b"brain.Event:2")], [0x224b_7fa3, 0x7c06_01ee]);
    }
}
