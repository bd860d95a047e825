//! Log lines on stderr: `ft-prep: message` or a JSON object a line.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::common::{Common, LogFormat};
use crate::progress::suspend;

static QUIET_PROCESS: AtomicBool = AtomicBool::new(false);

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Keeps what this thread tells below an error to itself, and its progress bars: for ranks that only repeat what the
/// first one says.
pub fn quiet_thread() {
    QUIET.set(true);
}

/// [`quiet_thread`] for all threads.
pub fn quiet_process() {
    QUIET_PROCESS.store(true, Ordering::Relaxed);
}

/// Whether what this thread tells is kept back.
pub(crate) fn is_quiet() -> bool {
    QUIET.get() || QUIET_PROCESS.load(Ordering::Relaxed)
}

/// Sends `tracing` events to stderr. A second call in one process changes
/// nothing.
pub(crate) fn install(tool: &'static str, common: &Common) {
    let level = match (common.quiet, common.verbose) {
        (true, _) => LevelFilter::WARN,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    // Our own crates only: what a dependency tells is not for the user.
    let filter = Targets::new().with_default(LevelFilter::ERROR).with_target("ft_", level);
    let format = common.log_format;
    let lines = Lines { tool, format };
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}

/// Writes the one line of a failure, also before [`install`] ran.
pub(crate) fn error_line(tool: &str, format: LogFormat, message: &str) {
    let mut fields = Map::new();
    fields.insert("message".into(), message.into());
    write_line(&line(tool, format, Level::ERROR, fields));
}

struct Lines {
    tool: &'static str,
    format: LogFormat,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if is_quiet() && *event.metadata().level() != Level::ERROR {
            return;
        }
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        write_line(&line(self.tool, self.format, *event.metadata().level(), fields.0));
    }
}

/// One log line with its line break.
fn line(tool: &str, format: LogFormat, level: Level, mut fields: Map<String, Value>) -> String {
    let message = match fields.shift_remove("message") {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    match format {
        LogFormat::Text => {
            let mark = match level {
                Level::ERROR => "error: ",
                Level::WARN => "warning: ",
                _ => "",
            };
            let mut out = format!("{tool}: {mark}{message}");
            for (name, value) in fields {
                let _ = match value {
                    Value::String(text) => write!(out, " {name}={text}"),
                    other => write!(out, " {name}={other}"),
                };
            }
            out.push('\n');
            out
        }
        LogFormat::Json => {
            let mut object = Map::new();
            object.insert("time".into(), seconds_since_epoch().into());
            object.insert("level".into(), level.as_str().to_ascii_lowercase().into());
            object.insert("tool".into(), tool.into());
            object.insert("message".into(), message.into());
            object.extend(fields);
            let mut out = Value::Object(object).to_string();
            out.push('\n');
            out
        }
    }
}

/// Seconds since 1970 with milliseconds.
fn seconds_since_epoch() -> f64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (elapsed.as_secs_f64() * 1e3).round() / 1e3
}

/// Writes at once, so that lines of several threads do not mix. Nobody is left
/// to tell when stderr itself fails.
fn write_line(line: &str) {
    suspend(|| {
        let _ = io::stderr().lock().write_all(line.as_bytes());
    });
}

/// Collects an event's fields with their types.
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("message".into(), "done".into());
        fields.insert("rows".into(), 3.into());
        fields
    }

    #[test]
    fn text_names_the_tool_and_the_fields() {
        let got = line("ft-x", LogFormat::Text, Level::WARN, fields());
        assert_eq!(got, "ft-x: warning: done rows=3\n");
    }

    #[test]
    fn json_is_one_object() {
        let got = line("ft-x", LogFormat::Json, Level::INFO, fields());
        let value: Value = serde_json::from_str(&got).unwrap();
        assert_eq!(value["message"], "done");
        assert_eq!(value["rows"], 3);
        assert_eq!(value["level"], "info");
        assert!(value["time"].as_f64().unwrap() > 1.6e9);
    }
}
